"""torch.utils.model_zoo: the older name of torch.hub's loader."""

from flambeau.hub import load_state_dict_from_url
from flambeau.missing import lookup

load_url = load_state_dict_from_url
__getattr__ = lookup(__name__)
