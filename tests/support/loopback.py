"""The server of `polycall.testing`, under the names that the tests use."""

from polycall.testing import Answer, Drop, Gone, Reset, Sent, Until, Wait
from polycall.testing._loopback import LONGEST_WAIT, Server
from polycall.testing._wire import Piece

__all__ = ["LONGEST_WAIT", "Answer", "Drop", "Gone", "Piece", "Reset", "Sent", "Server", "Until", "Wait"]
