"""torch.signal.

windows.py   window functions
"""

from flambeau.signal import windows
