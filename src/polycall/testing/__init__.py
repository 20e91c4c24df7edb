"""For tests: a model server on loopback that plays scripts of calls, answers re-asks, and misbehaves on demand.

It needs no SDK and no pytest. With pytest there is the fixture ``model_server``.
"""

from polycall.testing._catalogue import FAULTS
from polycall.testing._faults import Arrival, Fault, Honest, Outcome
from polycall.testing._format import Event, Format
from polycall.testing._model_server import ModelServer
from polycall.testing._script import Resend, Said, Turn
from polycall.testing._suite import ProviderSuite
from polycall.testing._suite_pure import recorded_body
from polycall.testing._wire import Answer, Drop, Gone, Heard, Raw, Reset, Sent, Until, Wait

__all__ = [
    "FAULTS",
    "Answer",
    "Arrival",
    "Drop",
    "Event",
    "Fault",
    "Format",
    "Gone",
    "Heard",
    "Honest",
    "ModelServer",
    "Outcome",
    "ProviderSuite",
    "Raw",
    "Resend",
    "Reset",
    "Said",
    "Sent",
    "Turn",
    "Until",
    "Wait",
    "recorded_body",
]
