"""RFC 3398 as data: Q.850 cause to SIP status (7.2.4.1), SIP status to Q.850 cause (8.2.6.1), and the SIP phrases.

Causes that RFC 3398 does not list are marked; they follow the catch-all of their class. No code is here.
"""

from __future__ import annotations

from gateway.cause import Cause

# RFC 3398 7.2.4.1.
STATUS_FOR_CAUSE: dict[Cause, int] = {
    Cause.UNALLOCATED_NUMBER: 404,
    Cause.NO_ROUTE_TO_TRANSIT_NETWORK: 404,
    Cause.NO_ROUTE_TO_DESTINATION: 404,
    Cause.USER_BUSY: 486,
    Cause.NO_USER_RESPONDING: 408,
    Cause.NO_ANSWER_FROM_USER: 480,
    Cause.SUBSCRIBER_ABSENT: 480,
    Cause.CALL_REJECTED: 403,
    Cause.NUMBER_CHANGED: 410,
    Cause.REDIRECTION_TO_NEW_DESTINATION: 410,
    Cause.NON_SELECTED_USER_CLEARING: 404,
    Cause.DESTINATION_OUT_OF_ORDER: 502,
    Cause.INVALID_NUMBER_FORMAT: 484,
    Cause.FACILITY_REJECTED: 501,
    Cause.NORMAL_UNSPECIFIED: 480,
    Cause.NO_CIRCUIT_AVAILABLE: 503,
    Cause.NETWORK_OUT_OF_ORDER: 503,
    Cause.TEMPORARY_FAILURE: 503,
    Cause.SWITCHING_EQUIPMENT_CONGESTION: 503,
    Cause.RESOURCE_UNAVAILABLE: 503,
    Cause.INCOMING_CALLS_BARRED_IN_CUG: 403,
    Cause.BEARER_CAPABILITY_NOT_AUTHORIZED: 403,
    Cause.BEARER_CAPABILITY_NOT_AVAILABLE: 503,
    Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED: 488,
    Cause.ONLY_RESTRICTED_DIGITAL: 488,
    Cause.USER_NOT_MEMBER_OF_CUG: 403,
    Cause.INCOMPATIBLE_DESTINATION: 503,
    Cause.RECOVERY_ON_TIMER_EXPIRY: 504,
    Cause.PROTOCOL_ERROR: 500,
    Cause.INTERWORKING: 500,
}

# Not in RFC 3398: chosen by meaning. Where nothing better fits it is 500, which 7.2.4.1 gives for the rest.
STATUS_FOR_OTHER_CAUSE: dict[Cause, int] = {
    Cause.SEND_SPECIAL_INFORMATION_TONE: 404,
    Cause.MISDIALLED_TRUNK_PREFIX: 404,
    Cause.CHANNEL_UNACCEPTABLE: 503,
    Cause.CALL_AWARDED_IN_ESTABLISHED_CHANNEL: 500,
    Cause.PREEMPTION: 503,
    Cause.PREEMPTION_RESERVED_FOR_REUSE: 503,
    # Before answer nobody was reached although nothing failed; after CANCEL the transaction answers 487 by itself.
    Cause.NORMAL_CALL_CLEARING: 480,
    # 483 or 482 would tell the caller's proxy about loops in SIP, which nobody has seen.
    Cause.EXCHANGE_ROUTING_ERROR: 500,
    Cause.RESPONSE_TO_STATUS_ENQUIRY: 500,
    Cause.FRAME_MODE_OUT_OF_SERVICE: 503,
    Cause.FRAME_MODE_OPERATIONAL: 503,
    Cause.ACCESS_INFORMATION_DISCARDED: 503,
    Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE: 503,
    Cause.PRECEDENCE_CALL_BLOCKED: 503,
    Cause.QUALITY_OF_SERVICE_UNAVAILABLE: 503,
    Cause.FACILITY_NOT_SUBSCRIBED: 403,
    Cause.OUTGOING_CALLS_BARRED_IN_CUG: 403,
    Cause.INCONSISTENT_OUTGOING_ACCESS: 403,
    Cause.SERVICE_NOT_AVAILABLE: 503,
    Cause.CHANNEL_TYPE_NOT_IMPLEMENTED: 488,
    Cause.FACILITY_NOT_IMPLEMENTED: 501,
    Cause.SERVICE_NOT_IMPLEMENTED: 501,
    Cause.INVALID_CALL_REFERENCE: 500,
    Cause.CHANNEL_DOES_NOT_EXIST: 500,
    Cause.SUSPENDED_CALL_WRONG_IDENTITY: 500,
    Cause.CALL_IDENTITY_IN_USE: 500,
    Cause.NO_CALL_SUSPENDED: 500,
    Cause.CALL_CLEARED: 500,
    Cause.NONEXISTENT_CUG: 403,
    Cause.INVALID_TRANSIT_NETWORK: 404,
    Cause.INVALID_MESSAGE: 500,
    Cause.MANDATORY_ELEMENT_MISSING: 500,
    Cause.MESSAGE_TYPE_NONEXISTENT: 500,
    Cause.MESSAGE_NOT_COMPATIBLE_WITH_STATE: 500,
    Cause.ELEMENT_NONEXISTENT: 500,
    Cause.INVALID_ELEMENT_CONTENTS: 500,
    Cause.MESSAGE_NOT_COMPATIBLE: 500,
    Cause.PARAMETER_NONEXISTENT: 500,
    Cause.UNRECOGNIZED_PARAMETER_DISCARDED: 500,
}

# RFC 3398 8.2.6.1. 487 has no mapping there, 488 and 606 go by their Warning header: see CAUSE_FOR_WARNING.
CAUSE_FOR_STATUS: dict[int, Cause] = {
    400: Cause.TEMPORARY_FAILURE,
    401: Cause.CALL_REJECTED,
    402: Cause.CALL_REJECTED,
    403: Cause.CALL_REJECTED,
    404: Cause.UNALLOCATED_NUMBER,
    405: Cause.SERVICE_NOT_AVAILABLE,
    406: Cause.SERVICE_NOT_IMPLEMENTED,
    407: Cause.CALL_REJECTED,
    408: Cause.RECOVERY_ON_TIMER_EXPIRY,
    410: Cause.NUMBER_CHANGED,
    413: Cause.INTERWORKING,
    414: Cause.INTERWORKING,
    415: Cause.SERVICE_NOT_IMPLEMENTED,
    416: Cause.INTERWORKING,
    420: Cause.INTERWORKING,
    421: Cause.INTERWORKING,
    423: Cause.INTERWORKING,
    480: Cause.NO_USER_RESPONDING,
    481: Cause.TEMPORARY_FAILURE,
    482: Cause.EXCHANGE_ROUTING_ERROR,
    483: Cause.EXCHANGE_ROUTING_ERROR,
    484: Cause.INVALID_NUMBER_FORMAT,
    485: Cause.UNALLOCATED_NUMBER,
    486: Cause.USER_BUSY,
    500: Cause.TEMPORARY_FAILURE,
    501: Cause.SERVICE_NOT_IMPLEMENTED,
    502: Cause.NETWORK_OUT_OF_ORDER,
    503: Cause.TEMPORARY_FAILURE,
    504: Cause.RECOVERY_ON_TIMER_EXPIRY,
    505: Cause.INTERWORKING,
    513: Cause.INTERWORKING,
    600: Cause.USER_BUSY,
    603: Cause.CALL_REJECTED,
    604: Cause.UNALLOCATED_NUMBER,
}

# Not in RFC 3398's table: younger statuses, and those without a mapping there.
CAUSE_FOR_OTHER_STATUS: dict[int, Cause] = {
    # 3xx that nobody follows: the called user is elsewhere.
    300: Cause.REDIRECTION_TO_NEW_DESTINATION,
    301: Cause.NUMBER_CHANGED,
    302: Cause.REDIRECTION_TO_NEW_DESTINATION,
    305: Cause.REDIRECTION_TO_NEW_DESTINATION,
    380: Cause.REDIRECTION_TO_NEW_DESTINATION,
    422: Cause.INTERWORKING,
    428: Cause.CALL_REJECTED,
    429: Cause.CALL_REJECTED,
    430: Cause.TEMPORARY_FAILURE,
    433: Cause.CALL_REJECTED,  # RFC 5079: anonymity disallowed
    436: Cause.CALL_REJECTED,
    437: Cause.CALL_REJECTED,
    438: Cause.CALL_REJECTED,
    487: Cause.NORMAL_CALL_CLEARING,
    488: Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED,
    491: Cause.TEMPORARY_FAILURE,
    493: Cause.INTERWORKING,
    494: Cause.SERVICE_NOT_AVAILABLE,
    580: Cause.QUALITY_OF_SERVICE_UNAVAILABLE,  # RFC 3312: precondition failure
    606: Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED,
    607: Cause.CALL_REJECTED,  # RFC 8197: unwanted
    608: Cause.CALL_REJECTED,  # RFC 8688: rejected by an intermediary
}

# A status that no table knows counts as the x00 of its class (RFC 3261 8.1.3.2).
CAUSE_FOR_STATUS_CLASS: dict[int, Cause] = {
    3: Cause.REDIRECTION_TO_NEW_DESTINATION,
    4: Cause.TEMPORARY_FAILURE,
    5: Cause.TEMPORARY_FAILURE,
    6: Cause.CALL_REJECTED,
}

# RFC 3261 20.43 warn-codes of 488 and 606, by meaning.
CAUSE_FOR_WARNING: dict[int, Cause] = {
    300: Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED,  # incompatible network protocol
    301: Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED,  # incompatible network address formats
    302: Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED,  # incompatible transport protocol
    303: Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED,  # incompatible bandwidth units
    304: Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED,  # media type not available
    305: Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED,  # incompatible media format
    306: Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED,  # attribute not understood
    307: Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED,  # session description parameter not understood
    330: Cause.BEARER_CAPABILITY_NOT_AVAILABLE,  # multicast not available
    331: Cause.BEARER_CAPABILITY_NOT_AVAILABLE,  # unicast not available
    370: Cause.RESOURCE_UNAVAILABLE,  # insufficient bandwidth
    399: Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED,  # miscellaneous
}

REASON_PHRASES: dict[int, str] = {
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    417: "Unknown Resource-Priority",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    428: "Use Identity Header",
    429: "Provide Referrer Identity",
    430: "Flow Failed",
    433: "Anonymity Disallowed",
    436: "Bad Identity Info",
    437: "Unsupported Credential",
    438: "Invalid Identity Header",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    494: "Security Agreement Required",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    580: "Precondition Failure",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
    607: "Unwanted",
    608: "Rejected",
}
