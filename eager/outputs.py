"""Names of operators by how types meet in them, as PyTorch has it. What `out=` means for the type of a result: which operators want it
to have exactly that type, while the others convert what they compute; and which compute in its type where the call names none. And
which refuse a Python number that the type they compute in cannot hold, where the others let it wrap.
"""

FITTING = frozenset("clamp hardtanh leaky_relu pow select_where threshold where".split())

TYPED_BY_OUT = frozenset("empty eye full linspace logspace ones rand randn zeros".split())

EXACT = frozenset("""
    abs addbmm addmm addmv alias_copy all amax amin aminmax any argmax argmin as_strided_copy
    avg_pool2d avg_pool3d baddbmm bitwise_not bmm bucketize ceil complex conj conj_physical
    cross cummax cummin diag diagonal_copy diff dot empty expand_copy eye fft_ifft fft_ihfft
    floor frac frexp full gather gelu hardshrink heaviside histc histogram index_add index_copy
    index_reduce index_select inner isin isneginf isposinf kthvalue linalg_cholesky
    linalg_cholesky_ex linalg_cross linalg_det linalg_eigh linalg_eigvalsh linalg_inv
    linalg_inv_ex linalg_ldl_factor linalg_ldl_factor_ex linalg_ldl_solve linalg_lu
    linalg_lu_factor linalg_lu_factor_ex linalg_lu_solve linalg_matrix_norm linalg_multi_dot
    linalg_norm linalg_qr linalg_slogdet linalg_solve linalg_solve_ex linalg_solve_triangular
    linalg_svd linalg_svdvals linalg_vecdot linalg_vector_norm linear linspace logcumsumexp
    logsigmoid logspace lu_solve lu_unpack masked_select matmul mm mode msort mv nan_to_num
    nanquantile narrow_copy native_batch_norm neg nonzero norm ones ormqr permute_copy polar qr
    quantile renorm round scatter scatter_add scatter_reduce searchsorted sgn sign signbit
    slice_scatter softplus softshrink sort split_with_sizes_copy squeeze_copy svd t_copy take
    take_along_dim tensordot topk transpose_copy triangular_solve tril triu trunc unbind_copy
    unfold_copy unsqueeze_copy vdot view_copy zeros
    multinomial randn where
""".split())
