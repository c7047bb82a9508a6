"""Responses without a transaction (RFC 3261 8.2.7): the same request would get the same answer, so none is kept."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable

from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.hop import reply_flow
from gateway.voip.sip.host import Fields
from gateway.voip.sip.message import Request

log = logging.getLogger(__name__)


def answer_without_state(
    request: Request, flow: Flow, status: int, fields: Fields, send: Callable[[Flow, bytes], None]
) -> None:
    """``send`` the response ``status`` with ``fields`` to ``request``, if it can be answered at all."""
    try:
        # Whom nobody knows does not say by maddr (18.2.2) whom else we are to send to.
        where = flow if request.via.maddr is not None else reply_flow(request.via, flow)
    except SipError:
        where = flow
    # 8.2.6.2: and so each repetition the same To tag.
    response = request.response(status, None, f"{zlib.crc32(repr(request.headers.entries).encode()):x}")
    for name, value in fields:
        response.headers.add(name, value)
    try:
        send(where, response.to_bytes())
    except ValueError:
        log.debug("from %s: request cannot even be answered", flow)
