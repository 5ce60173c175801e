"""Edges of types and shapes, from the outside: an expression gives what torch gives, printed, or is refused with torch's class of
exception. Numbers that a type cannot hold, orders of complex numbers, subscripts, shapes that do not fit, arguments out of range.
"""

import warnings

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

EXPRESSIONS = """
l.arange(0,5,-1)
l.arange(5,0)
l.tensor([1,2,3],dtype=l.int8).masked_fill(l.tensor([True,False,True]),300)
l.tensor([1,2,3],dtype=l.int8).fill_(300)
l.full_like(l.tensor([1],dtype=l.int8),300)
l.tensor([1],dtype=l.int8).new_full((2,),300)
l.full((2,),300,dtype=l.int8)
l.where(l.tensor([True]),l.tensor([1],dtype=l.int8),300)
l.tensor([1],dtype=l.int8).eq(300)
l.tensor([1],dtype=l.uint8).eq(-1)
l.tensor([255],dtype=l.uint8).eq(-1)
l.tensor([255],dtype=l.uint8)<-1
l.tensor([255],dtype=l.uint8)>300
l.tensor([1],dtype=l.int8).clamp(max=300)
l.tensor([1],dtype=l.int8).clamp_min(300)
l.tensor([1],dtype=l.int8).clamp_max(-300)
l.tensor([100],dtype=l.int8).mul(300)
l.tensor([100],dtype=l.int8).remainder(300)
l.tensor([100],dtype=l.int8).fmod(300)
l.tensor([100],dtype=l.int8)//300
l.tensor([100],dtype=l.int8).pow(300)
l.tensor([100],dtype=l.int8)&300
l.tensor([100],dtype=l.int8)<<300
l.tensor([100],dtype=l.int8).index_fill(0,l.tensor([0]),300)
l.tensor([100],dtype=l.int8).scatter(0,l.tensor([0]),300)
l.nn.functional.pad(l.tensor([100],dtype=l.int8),(1,1),value=300)
l.tensor([100],dtype=l.int8).addcmul(l.tensor([1],dtype=l.int8),l.tensor([1],dtype=l.int8),value=300)
l.tensor([100],dtype=l.int8).__setitem__(0,300)
l.tensor([100],dtype=l.int8).index_put_((l.tensor([0]),),l.tensor(300))
l.maximum(l.tensor([100],dtype=l.int8),l.tensor(300))
l.tensor([100],dtype=l.int8)+l.tensor(300)
l.tensor([1],dtype=l.int8)==2.5
l.tensor([1],dtype=l.int8)<1e10
l.tensor([2**31-1],dtype=l.int32)<2**40
l.tensor([1],dtype=l.int32)+2**40
l.full((1,),1e40)
l.tensor([1.]).fill_(1e40)
l.tensor([1.]).masked_fill(l.tensor([True]),1e40)
l.tensor([1.]).masked_fill(l.tensor([True]),-1e40)
l.tensor([1],dtype=l.int8).fill_(2.7)
l.tensor([1],dtype=l.int8).fill_(float('nan'))
l.tensor([1],dtype=l.bool).fill_(2)
l.tensor([1],dtype=l.int8).masked_fill(l.tensor([True]),2.5)
l.tensor([1],dtype=l.int8).clamp(0.5,2.5)
l.tensor([1]).threshold(2,300)
l.nn.functional.threshold(l.tensor([1],dtype=l.int8),2,300)
l.nn.functional.hardtanh(l.tensor([1],dtype=l.int8),-300,300)
l.tensor([1],dtype=l.int8).cumsum(0,dtype=l.int8)
l.tensor([100,100],dtype=l.int8).cumsum(0)
l.tensor([100,100],dtype=l.int8).sum(dtype=l.int8)
l.tensor([100,100],dtype=l.uint8).mean(dtype=l.float32)
l.tensor([100,100],dtype=l.uint8).dot(l.tensor([100,100],dtype=l.uint8))
l.tensor([True,True]).sum()
l.tensor([True,True]).cumsum(0)
l.tensor([True,True]).prod()
l.tensor([1+2j]).abs()
l.tensor([1+2j])<2
l.tensor([1+2j]).max()
l.tensor([1+2j])//2
l.tensor([1+2j])%2
l.tensor([1+2j]).floor()
l.tensor([1+2j]).sign()
l.tensor([1+2j]).sgn()
l.tensor([1+2j]).clamp(0)
l.tensor([1+2j]).to(l.float32)
l.tensor([1.]).add_(1j)
l.tensor([1]).add_(1.5)
l.tensor([1]).div_(2)
l.tensor([1]).mul_(True)
l.tensor([True]).add_(1)
l.tensor([True]).logical_and_(l.tensor([2.]))
l.tensor([1.]).eq_(1)
l.tensor([2]).eq_(2)
l.tensor([1.,2]).bernoulli_(2.)
l.tensor([3]).sqrt_()
l.bincount(l.tensor([-1]))
l.tensor([1.])[5]
l.tensor([1.])[l.tensor([5])]
l.tensor([1.])[1.5]
l.tensor([1.])[...,None,0]
l.tensor([1.,2])[::-1]
l.tensor([[1.,2]])[0,0,0]
l.tensor(1.)[0]
l.tensor([1.,2])[[True,False]]
l.tensor([1.,2])[l.tensor([True])]
l.tensor([1.,2])[True]
l.tensor([1.,2])[False]
l.tensor([1.,2])[None]
l.zeros(2,3)[:,l.tensor([0,2]),None].shape
l.zeros(2,3,4)[l.tensor([0]),:,l.tensor([1,2])].shape
l.zeros(2,3,4)[:,l.tensor([[0],[1]]),l.tensor([1,2])].shape
l.ones(2,3)@l.ones(2,3)
l.ones(2,3)+l.ones(2,4)
l.ones(2,3).view(7)
l.ones(2,3).t().view(6)
l.ones(2,3).reshape(-1,-1)
l.ones(2,3).expand(3,3)
l.ones(2,3).permute(0,0)
l.ones(2,3).transpose(0,5)
l.cat([l.ones(2,3),l.ones(3,2)])
l.cat([])
l.stack([l.ones(2),l.ones(3)])
l.ones(2,3).sum(5)
l.ones(2,3).squeeze(5)
l.ones(2,3).unsqueeze(5)
l.ones(2,3).split(0)
l.ones(2,3).split([1,2])
l.ones(2,3).chunk(0)
l.ones(2,3).gather(0,l.tensor([0]))
l.ones(2,3).index_select(0,l.tensor([5]))
l.ones(2,3).index_select(0,l.tensor([[0]]))
l.ones(2,3).narrow(0,1,5)
l.ones(2,3).item()
bool(l.ones(2,3))
int(l.tensor(1.7))
len(l.tensor(1))
list(l.tensor(1))
l.ones(2,3,requires_grad=True).numpy()
l.ones(2,dtype=l.int64,requires_grad=True)
l.ones(2).requires_grad_().add_(1)
l.ones(2,requires_grad=True).backward()
l.ones(1).backward()
l.nn.functional.linear(l.ones(2,3),l.ones(4,5))
l.nn.functional.conv2d(l.ones(1,3,4,4),l.ones(2,4,3,3))
l.nn.functional.conv2d(l.ones(1,3,2,2),l.ones(2,3,3,3))
l.nn.functional.cross_entropy(l.ones(2,3),l.tensor([0,5]))
l.nn.functional.cross_entropy(l.ones(2,3),l.tensor([0]))
l.nn.functional.embedding(l.tensor([5]),l.ones(3,2))
l.nn.functional.embedding(l.tensor([1.]),l.ones(3,2))
l.nn.functional.max_pool2d(l.ones(1,1,2,2),3)
l.nn.functional.batch_norm(l.ones(1,3),None,None,training=True)
l.nn.functional.dropout(l.ones(3),1.5)
l.nn.functional.softmax(l.ones(3),5)
l.nn.functional.one_hot(l.tensor([3]),2)
l.nn.functional.interpolate(l.ones(1,1,2),size=4,mode='bilinear')
l.nn.functional.mse_loss(l.ones(2),l.ones(3),reduction='nope')
l.tensor([1,2]).mean()
l.tensor([1,2]).std()
l.arange(5).softmax(0)
l.linalg.inv(l.ones(2,3))
l.einsum('ij,jk',l.ones(2,3),l.ones(4,5))
l.einsum('i->ii',l.ones(2))
l.einsum('ij->k',l.ones(2,2))
l.multinomial(l.tensor([0.,0.]),1)
l.zeros(-1)
l.zeros(2.5)
l.tensor('a')
l.tensor([[1,2],[3]])
l.tensor(None)
l.from_numpy([1])
l.ones(2).to('nope')
l.device('cuda:x')
l.ones(2).type('torch.Nope')
l.finfo(l.int8)
l.iinfo(l.float32)
l.promote_types(1,2)
l.topk(l.ones(3),5)
l.kthvalue(l.ones(3),5)
l.sort(l.ones(3),dim=4)
l.unique(l.tensor([3,1,3]),return_inverse=True)
l.searchsorted(l.tensor([1,2]),l.tensor([[1]]))
l.cumsum(l.ones(2),3)
l.roll(l.ones(2,2),1,5)
l.rot90(l.ones(2,2),1,(0,0))
l.flip(l.ones(2,2),(0,0))
l.triu(l.ones(3))
l.diag(l.ones(2,2,2))
l.outer(l.ones(2,2),l.ones(2))
l.bmm(l.ones(2,2),l.ones(2,2))
l.mm(l.ones(2),l.ones(2))
l.dot(l.ones(2,2),l.ones(2))
l.cross(l.ones(2),l.ones(2))
l.histc(l.ones(2),0)
l.randperm(-1)
l.randint(5,2,(2,))
l.normal(0.,-1.,(2,))
l.set_default_dtype(l.int64)
l.nn.Linear(2,3)(l.ones(4))
l.nn.Linear(2,3)(l.ones(2,dtype=l.float64))
l.nn.Conv2d(3,4,3)(l.ones(2,2))
l.nn.Conv2d(3,4,3,groups=2)
l.nn.Conv2d(3,4,3,padding='nope')
l.nn.Conv2d(3,4,3,stride=2,padding='same')
l.nn.BatchNorm2d(3)(l.ones(2,3))
l.nn.MultiheadAttention(5,2)
l.nn.Embedding(3,2,padding_idx=5)
l.nn.LSTM(2,3)(l.ones(2))
l.nn.Sequential(1)
l.nn.ModuleList([1])
l.nn.Module()(1)
l.nn.Linear(2,2).load_state_dict({})
l.nn.Linear(2,2).load_state_dict({'weight':l.ones(3),'bias':l.ones(2)})
l.nn.Linear(2,2).nope
l.nn.Linear(2,2).register_parameter('a.b',None)
l.nn.Linear(2,2).register_buffer('weight',None)
l.nn.Parameter([1])
setattr(l.nn.Linear(2,2),'weight',l.ones(2))
l.autograd.grad(l.ones(1),l.ones(1))
l.autograd.grad(l.ones(1,requires_grad=True).sum(),l.ones(1,requires_grad=True))
l.ones(1,requires_grad=True).sum().backward(l.ones(2))
""".strip().splitlines()


def outcome(expression, library):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = eval(expression, {"l": library})
    except Exception as error:
        return type(error).__name__
    return "".join(str(found).split())


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_as_torch(expression):
    assert outcome(expression, flambeau) == outcome(expression, torch)


HALVES = {
    "addmm": lambda l, x: l.addmm(x[:8, :8], x[:8], x[:8].t()),
    "baddbmm": lambda l, x: l.baddbmm(x[:8, :8].reshape(1, 8, 8), x[None, :8], x[:8].t()[None]),
    "addmv": lambda l, x: l.addmv(x[:8, 0], x[:8], x[0]),
    "index_add": lambda l, x: (x[:3] * 0).index_add(0, l.arange(64) % 3, x),
    "scatter_add": lambda l, x: (x[0] * 0).scatter_add(0, l.arange(4096) % 5, x.reshape(-1)),
    "scatter_reduce": lambda l, x: (x[0] * 0).scatter_reduce(0, l.arange(4096) % 5, x.reshape(-1), "mean"),
    "addcmul": lambda l, x: l.addcmul(x[0], x[1], x[2], value=0.3),
    "addcdiv": lambda l, x: l.addcdiv(x[0], x[1], x[2], value=0.3),
    "gelu": lambda l, x: l.nn.functional.gelu(x),
    "cumsum": lambda l, x: x.cumsum(1),
    "sum": lambda l, x: x.sum(0),
    "mean": lambda l, x: x.mean(),
}


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", HALVES)
def test_half_precision_is_rounded_once(name, kind):
    values = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    mine = flambeau.from_numpy(values).to(getattr(flambeau, kind))
    theirs = torch.from_numpy(values).to(getattr(torch, kind))
    found, wanted = HALVES[name](flambeau, mine), HALVES[name](torch, theirs.double()).numpy()
    assert found.dtype is mine.dtype
    # half a unit in the last place, of the result or of what cancels on the way
    allowed = {"float16": 2.0**-10, "bfloat16": 2.0**-7}[kind]
    np.testing.assert_allclose(found.double().numpy(), wanted, rtol=allowed, atol=allowed * 0.05)


def test_long_sums_keep_their_digits():
    values = np.random.default_rng(0).random(2_000_000).astype(np.float32)
    exact = values.astype(np.float64).sum()
    flat = flambeau.from_numpy(values)
    for found in (flat.sum(), flat.reshape(-1, 2).sum(0).sum(), flat.reshape(2, -1).sum(1).sum(), flat.cumsum(0)[-1], flat.mean() * len(values)):
        assert abs(found.item() - exact) <= 2e-7 * exact
    tall = flambeau.from_numpy(values.reshape(-1, 4))
    np.testing.assert_allclose(tall.sum((0,), keepdim=True).numpy(), values.reshape(-1, 4).astype(np.float64).sum(0, keepdims=True), rtol=3e-7)
