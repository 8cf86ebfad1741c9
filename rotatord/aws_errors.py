"""What AWS and its SDK say went wrong, as errors of ours. One table by code; what it does not name goes by its HTTP status.

Messages name the operation, AWS's code and its own words. The words of validations are the dangerous ones: they quote values
of the request. So the values are struck out of AWS's, and botocore's own are left out altogether.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from rotatord.errors import Conflict, Denied, Invalid, NotFound, OutsideError, Retryable

# Our own identity, not the request: keys that are new are unknown for a while, and those that are read anew may be right by
# the next try, so these are worth one.
_OURSELVES = {
    "ExpiredToken": "the session that we sign with has expired",
    "ExpiredTokenException": "the session that we sign with has expired",
    "InvalidClientTokenId": "AWS does not know the key that we sign with (yet, or any more)",
    "UnrecognizedClientException": "AWS does not know the key that we sign with (yet, or any more)",
    "InvalidAccessKeyId": "AWS does not know the key that we sign with (yet, or any more)",
    "SignatureDoesNotMatch": "the secret that we sign with does not belong to the key's id, or our clock is wrong",
    "InvalidSignatureException": "the secret that we sign with does not belong to the key's id, or our clock is wrong",
    "RequestExpired": "our clock is wrong",
    "RequestTimeTooSkewed": "our clock is wrong",
}
_RETRYABLE = """
    Throttling ThrottlingException ThrottledException RequestThrottled RequestThrottledException TooManyRequestsException
    RequestLimitExceeded BandwidthLimitExceeded SlowDown PriorRequestNotComplete ProvisionedThroughputExceededException
    TransactionInProgressException TooManyUpdates ConcurrentModification ConcurrentModificationException
    EntityTemporarilyUnmodifiable RequestTimeout RequestTimeoutException InternalFailure InternalServiceError
    InternalServerError ServiceFailure ServiceUnavailable KMSInternalException DependencyTimeoutException
"""
_DENIED = """
    AccessDenied AccessDeniedException UnauthorizedOperation NotAuthorized AuthFailure OptInRequired MissingAuthenticationToken
    IncompleteSignature KMSAccessDeniedException
"""
_NOT_FOUND = (
    "ResourceNotFoundException NoSuchEntity NoSuchEntityException ParameterNotFound ParameterVersionNotFound NotFoundException"
)
_CONFLICT = """
    ResourceExistsException EntityAlreadyExists ParameterAlreadyExists LimitExceeded LimitExceededException DeleteConflict
    ParameterLimitExceeded ParameterMaxVersionLimitExceeded ParameterVersionLabelLimitExceeded ConflictException
    ServiceQuotaExceededException
"""
_KINDS: dict[str, type[OutsideError]] = {
    code: kind
    for kind, codes in ((Retryable, _RETRYABLE), (Denied, _DENIED), (NotFound, _NOT_FOUND), (Conflict, _CONFLICT))
    for code in codes.split()
}
_QUOTED = tuple(  # greedily: of two quoted values and what stands between them nothing remains
    re.compile(rf"\b([Vv]alues?|[Pp]arameter values?):? ?(?:'.*'|\[.*\]|\".*\")(?= {after})", re.DOTALL)
    for after in ("at '", r"(?:failed|is|does|must)\b")
)
_LONGEST = 500


def code_of(error: BaseException) -> str:
    """The code with which AWS refused; empty where it did not."""
    return str(vars(error).get("aws_code", ""))


def from_sdk(error: BaseException) -> OutsideError | None:
    """The error of ours that one of the SDK's stands for; None for what is not the SDK's."""
    from botocore import exceptions, parsers  # noqa: PLC0415

    if isinstance(error, exceptions.ClientError):
        return _answered(error)
    if isinstance(error, parsers.ResponseParserError) or _came_up_in(parsers, error):
        return Retryable("AWS gave an answer that cannot be understood")
    if not isinstance(error, exceptions.BotoCoreError):
        return None
    for kinds, make in _unanswered(exceptions):
        if isinstance(error, kinds):
            return make(error)
    return Invalid(f"the request cannot be made ({type(error).__name__})")


def _came_up_in(module: Any, error: BaseException) -> bool:
    """Whether a module of the SDK failed over what it was given: botocore's parsers raise KeyErrors for a proxy's HTML page."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals is vars(module)


def _answered(error: Any) -> OutsideError:
    body, about = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    code, status = str(body.get("Code", "")), int(about.get("HTTPStatusCode") or 0)
    words = without_values(str(body.get("Message") or ""))
    message = f"AWS answered {code or status} to {error.operation_name}" + (f": {words}" if words else "")
    translated = _error(code, status, message, _retry_after(about))
    vars(translated)["aws_code"] = code
    return translated


def _error(code: str, status: int, message: str, wait: float | None) -> OutsideError:
    if code in _OURSELVES:
        return Retryable(f"{_OURSELVES[code]}; check our own credentials ({message})")
    kind = _KINDS.get(code)
    if kind is not None and kind is not Retryable:
        return kind(message)
    if kind is Retryable or status == 429 or status >= 500 or not status:
        return Retryable(message, retry_after=wait)
    return {401: Denied, 403: Denied, 404: NotFound, 409: Conflict}.get(status, Invalid)(message)


def _retry_after(about: Any) -> float | None:
    """Seconds to wait, where AWS says so; a date is not worth our clock."""
    text = {name.lower(): value for name, value in (about.get("HTTPHeaders") or {}).items()}.get("retry-after", "")
    return float(text) if str(text).isdigit() else None


def _unanswered(exceptions: Any) -> Iterable[tuple[Any, Callable[[Any], OutsideError]]]:
    """What the SDK raises by itself, the more exact before the more general."""
    return (
        (exceptions.ParamValidationError, _malformed),
        (exceptions.SSLError, lambda e: Retryable(f"{_where(e)} does not prove itself by TLS")),
        (exceptions.ConnectTimeoutError, lambda e: Retryable(f"{_where(e)} did not take the connection in time")),
        (exceptions.ReadTimeoutError, lambda e: Retryable(f"{_where(e)} did not answer in time")),
        (exceptions.ProxyConnectionError, lambda _: Retryable("the proxy to AWS is unreachable")),
        (exceptions.ConnectionError, lambda e: Retryable(f"{_where(e)} is unreachable; is the region right?")),
        (exceptions.HTTPClientError, lambda e: Retryable(f"{_where(e)} did not answer ({type(e).__name__})")),
        ((exceptions.ProfileNotFound, exceptions.ConfigNotFound, exceptions.ConfigParseError), lambda e: Invalid(str(e))),
        (exceptions.NoRegionError, lambda _: Invalid("no AWS region is configured: set region, or AWS_REGION")),
        (
            _of(
                exceptions,
                *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "MetadataRetrievalError"),
                *("TokenRetrievalError", "NoAuthTokenError", "SSOError", "RefreshWithMFAUnsupportedError"),
            ),
            lambda e: Retryable(
                f"we have no credentials for AWS now ({type(e).__name__}): check access_key, profile or the role"
            ),
        ),
    )


def _of(exceptions: Any, *names: str) -> tuple[Any, ...]:
    """Those of the classes that this release of the SDK has."""
    return tuple(getattr(exceptions, name) for name in names if hasattr(exceptions, name))


def _where(error: Any) -> str:
    place = str(error.kwargs.get("endpoint_url") or "")
    return f"AWS at {place.partition('?')[0]}" if place else "AWS"


def _malformed(error: Any) -> Invalid:
    names = sorted(set(re.findall(r"parameter:? \"?([A-Za-z]\w*(?:\.\w+)*)", str(error.kwargs.get("report", "")))))
    return Invalid(f"the request is malformed in {', '.join(names)}" if names else "the request is malformed")


def without_values(text: str) -> str:
    """AWS's own words, without the values that it quotes from a request."""
    for quoted in _QUOTED:
        text = quoted.sub(r"\1 ***", text)
    return text[:_LONGEST]
