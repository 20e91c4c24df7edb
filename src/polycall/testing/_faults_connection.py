"""Faults of the connection: before a request was read, and instead of an answer."""

from __future__ import annotations

from functools import partial
from typing import Final

from polycall.testing._faults import ERROR, Fault, Spoil
from polycall.testing._spoiling import wire
from polycall.testing._wire import Drop, Gone, Heard, Piece, Raw, Reset

_row = partial(Fault, where="connection")
_TLS_ALERT: Final = b"\x15\x03\x01\x00\x02\x02\x46"
_PLAIN: Final = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\nThe plain HTTP request was sent to HTTPS port"


def _at_once(name: str, about: str, *pieces: Piece, times: int | None = 1, stalls: bool = False, scheme: str = "http") -> Fault:
    healed = ("recovered", "error") if times else ERROR
    return _row(
        name=name,
        about=about,
        times=times,
        whole=healed,
        streamed=healed,
        stalls=stalls,
        scheme=scheme,
        spoil=wire(*pieces),
        greeting=lambda: pieces,
    )


def _when_used(piece: Piece) -> Spoil:
    """Do this on a connection that was used before."""
    return lambda honest: honest.answer() if honest.sent.nth == 1 else Raw([piece])


CONNECTION: Final = (
    _row(
        name="connection-refused",
        about="nothing listens on the port",
        whole=ERROR,
        streamed=ERROR,
        refuses=True,
        spoil=wire(Reset()),
    ),
    _at_once("accept-and-close", "the connection is closed as soon as it is there, once", Drop()),
    _at_once("accept-and-close-always", "every connection is closed as soon as it is there", Drop(), times=None),
    _at_once("accept-and-reset", "the connection is reset as soon as it is there, once", Reset()),
    _at_once("accept-and-reset-always", "every connection is reset as soon as it is there", Reset(), times=None),
    _at_once("accept-and-stall", "the connection is there, and nothing is read or sent", Gone(), times=None, stalls=True),
    _at_once("close-when-heard", "the connection is closed at the first byte of the request, once", Heard(), Drop()),
    _at_once("ssh-banner", "the port speaks SSH", b"SSH-2.0-OpenSSH_9.6\r\n", Drop(), times=None),
    _at_once(
        "smtp-banner", "the port speaks SMTP", b"220 mail.example ESMTP\r\n", Heard(), b"502 5.5.2 no\r\n", Drop(), times=None
    ),
    _at_once(
        "plain-http-on-tls-port", "the URL says https, the port speaks plain HTTP", Heard(), _PLAIN, times=None, scheme="https"
    ),
    _at_once(
        "stall-in-tls-handshake", "the URL says https, the port stays silent", Gone(), times=None, stalls=True, scheme="https"
    ),
    _row(
        name="tls-alert",
        about="the URL says http, the port speaks TLS",
        whole=ERROR,
        streamed=ERROR,
        spoil=wire(_TLS_ALERT),
    ),
    _row(
        name="close-after-request",
        about="the connection is closed when the request was read, once",
        times=1,
        whole=("recovered", "error"),
        streamed=("recovered", "error"),
        spoil=wire(Drop()),
    ),
    _row(
        name="close-after-request-always",
        about="the connection is closed whenever a request was read",
        whole=ERROR,
        streamed=ERROR,
        spoil=wire(Drop()),
    ),
    _row(
        name="reset-after-request",
        about="the connection is reset when the request was read, once",
        times=1,
        whole=("recovered", "error"),
        streamed=("recovered", "error"),
        spoil=wire(Reset()),
    ),
    _row(
        name="stale-keep-alive",
        about="a connection that was used before is closed when the next request comes on it",
        asks=2,
        spoil=_when_used(Drop()),
    ),
    _row(
        name="stale-keep-alive-reset",
        about="a connection that was used before is reset when the next request comes on it",
        asks=2,
        spoil=_when_used(Reset()),
    ),
)
