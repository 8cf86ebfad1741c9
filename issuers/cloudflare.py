"""API tokens of Cloudflare: those of an account, or of a user.

A token's name says whose it is, so what a lost answer left behind is found and ended. Its value is told once, by the answer
that makes it. For the overlap there are two; the old one is switched off, which can be undone, before it is deleted. Rolling
(a new value for the same token) is never used: it ends the old value at once, and one that lands late would end the value of
whoever has the token by then; an orphan is deleted and made anew instead.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from rotatord import cloudflare_own as own
from rotatord.cloudflare_catalogue import Catalogue, Resolved
from rotatord.cloudflare_client import QUOTA_CALLS, QUOTA_SECONDS, Calls, Cloudflare, CloudflareSettings, Family
from rotatord.cloudflare_formats import WHOLE, Legacy
from rotatord.cloudflare_labels import digest, name_of
from rotatord.cloudflare_rights import rights_of
from rotatord.cloudflare_scope import (
    condition_of,
    condition_seen,
    flat,
    grants_of,
    in_words,
    leaves_out,
    problems,
    same_networks,
    spelled,
    time_of,
)
from rotatord.cloudflare_survey import survey
from rotatord.cloudflare_tokens import ACTIVE, DISABLED, EXPIRED, Tokens, live, surplus, unused
from rotatord.cloudflare_vantage import Vantage, VantageSettings
from rotatord.cloudflare_verify import Send, Verify
from rotatord.durations import parse
from rotatord.errors import Denied, Invalid, NotFound, Retryable
from rotatord.mistakes import sentences
from rotatord.model import JsonMap
from rotatord.ports import (
    Accepted,
    Inconclusive,
    Life,
    LiveRef,
    Minted,
    MintRequest,
    ProbeAnswer,
    Query,
    RefusedVerdict,
    Secrets,
    Surroundings,
    Traits,
)
from rotatord.rights import CloudflareRight
from rotatord.secret import Secret

OUR_PROBE = timedelta(seconds=5)  # Cloudflare tells uses to the second, and its clock is not ours
REMEMBERED = 20_000
LONG_UNUSED = timedelta(days=90)
NEARLY_FULL = 0.9
Length = Annotated[timedelta, BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)]


class Settings(CloudflareSettings):
    """Settings of an issuer of type ``cloudflare``."""

    s3_keys: bool = False  # the fields access_key_id and secret_access_key too, as R2's S3 interface takes them
    vantage: VantageSettings | None = None  # where values are tried from, if not from here
    survey: bool = False  # ``check`` tells who else may act in the account
    addresses: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()  # from which this daemon calls
    catalogue_age: Length = timedelta(hours=1)
    propagation: Length = timedelta(seconds=30)
    listing_delay: Length = timedelta(seconds=30)
    last_used_delay: Length = timedelta(minutes=15)
    call_settles_within: Length = timedelta(seconds=60)


class Parameters(BaseModel):
    """There are none: everything stands in the scope."""

    model_config = ConfigDict(extra="forbid")


class CloudflareTokens:
    """See the module. Has the powers Suspend, LastUsed, Inventory, Preflight, Preview, Remarks, Metered and Acts, and what our
    own token needs to be replaced; thread-safe."""

    def __init__(self, settings: Settings, surroundings: Surroundings, api: Cloudflare | None = None) -> None:
        self._settings = settings
        self._surroundings = surroundings
        self._now = surroundings.now
        self._api = api or Cloudflare(settings, surroundings)
        self._vantage = Vantage(settings, settings.vantage) if settings.vantage is not None else None
        self._family = settings.family
        self._verify = Verify(self._family, settings.account_id or "")
        self._catalogue = Catalogue(self._family, settings.account_id or "", self._now, settings.catalogue_age)
        self._spared = own.Spared(self._api, self._family)
        self._ourselves = own.Ourselves(self._api, self._family, self._now)
        self.timeout = settings.timeout
        self.traits = Traits(
            fields=("token", "access_key_id", "secret_access_key") if settings.s3_keys else ("token",),
            scope_proof="exact",
            expiry=True,
            propagation=settings.propagation,
            listing_delay=settings.listing_delay,
            last_used_delay=settings.last_used_delay,
            call_settles_within=settings.call_settles_within,
            high_entropy=("token", "secret_access_key") if settings.s3_keys else ("token",),
            forms={"token": WHOLE},
            names=("access_key_id",) if settings.s3_keys else (),
            quota=(QUOTA_CALLS, QUOTA_SECONDS),
        )
        self._legacy, self._lock = Legacy(), threading.Lock()
        self._met = {digest(surroundings.installation): surroundings.installation}  # names by their digests
        self._refs: OrderedDict[str, str] = OrderedDict()  # of the tokens whose values were seen here, by digest
        self._probed: OrderedDict[str, tuple[datetime | None, datetime]] = OrderedDict()  # id: its use before, our probe

    # --- Issuer ------------------------------------------------------------------------------------------------

    def check(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        found = problems(scope) + sentences(Parameters, parameters, "parameters")
        if not found and self._vantage is None and leaves_out(scope, self._settings.addresses):
            found.append(
                "scope.ip_allow or ip_deny leaves out the addresses of this daemon (addresses of the issuer), so fresh tokens "
                "cannot be tried from here: set vantage for the issuer, or allow the daemon's address too"
            )
        return found

    def propose(self, request: MintRequest) -> Secret:
        raise Invalid(f"Cloudflare chooses the values of its tokens ({request.credential})")

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        if proposed is not None:
            raise Invalid("Cloudflare chooses the values of its tokens")
        self._meet(request.credential)
        calls = self._api.calls()
        token, value = self._tokens(calls).made(self._body(calls, request))
        ref = self._family.ref(token["id"])
        self._remember(value, ref)
        return Minted(ref=ref, fields=self._fields(token["id"], value), expires_at=time_of(token.get("expires_on")))

    def find(self, query: Query) -> Sequence[LiveRef]:
        self._meet(query.credential)
        calls = self._api.calls()
        if query.ref is not None:
            tokens, token_id = self._meant(calls, query.ref)
            try:
                found = live(tokens.one(token_id), tokens.family, self._known())
            except NotFound:
                return []
            return [replace(found, ref=query.ref)]
        found_all = [live(token, self._family, self._known()) for token in self._tokens(calls).all()]
        ours = [item for item in found_all if (item.installation, item.credential) == (query.installation, query.credential)]
        return [item for item in ours if query.rotation in (None, item.rotation)]

    def probe(self, fields: Secret, target: JsonMap) -> ProbeAnswer:
        value = fields.reveal("token")
        calls = self._api.calls()
        direct: Send = lambda path, token: calls.send("GET", path, token=token)  # noqa: E731
        known = self._refs.get(_digest(value), "")
        token = self._shown(calls, known)
        probed = self._now()
        answer, family = self._verify.ask(value, self._vantage.send if self._vantage is not None else direct)
        if isinstance(answer, RefusedVerdict) and token.get("status") == ACTIVE and condition_seen(token):
            return Inconclusive(f"{answer.why}, but it is active and pinned to addresses: this may be none of them")
        if not isinstance(answer, Accepted):
            return answer
        assert answer.ref is not None
        ref = family.ref(answer.ref)
        self._note_probe(answer.ref, token, probed)
        token = token if token.get("id") == answer.ref else self._shown(calls, ref)
        if token:
            self._remember(value, ref)
        elif known or (family == self._family and family.account is not None):
            return Inconclusive("it works, but Cloudflare does not show what it may do: not yet, or not any more")
        if self.traits.names and fields.reveal("access_key_id") != answer.ref:
            return RefusedVerdict("access_key_id is not the id of this token")
        return replace(answer, scope=self._seen(calls, token, target.get("scope") or {}) if token else None, ref=ref)

    def revoke(self, ref: str, fields: Secret | None, parameters: JsonMap) -> None:
        tokens, token_id = self._meant(self._api.calls(), ref)
        self._spared.check(tokens.calls, token_id)
        tokens.end(token_id)
        self._legacy.ended(tokens.family.ref(token_id))

    # --- optional powers ----------------------------------------------------------------------------------------

    def suspend(self, ref: str, parameters: JsonMap) -> None:
        tokens, token_id = self._meant(self._api.calls(), ref)
        self._spared.check(tokens.calls, token_id)
        tokens.set_status(token_id, DISABLED)

    def resume(self, ref: str, parameters: JsonMap) -> None:
        tokens, token_id = self._meant(self._api.calls(), ref)
        tokens.set_status(token_id, ACTIVE)

    def last_used(self, ref: str, parameters: JsonMap) -> datetime | None:
        tokens, token_id = self._meant(self._api.calls(), ref)
        return self._use_by_others(tokens.one(token_id))

    def inventory(self) -> Sequence[LiveRef]:
        """All tokens of the account or user but the one that we use ourselves, and those that have expired."""
        calls = self._api.calls()
        ours = self._ourselves.look(calls).id
        tokens = [token for token in self._tokens(calls).all() if token["id"] != ours and token.get("status") != EXPIRED]
        return [live(token, self._family, self._known()) for token in tokens]

    def preflight(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        calls = self._api.calls()
        if found := own.lacking(self._ourselves.look(calls), self._family, self._catalogue, calls):
            return found
        if self._tokens(calls).count() >= self._family.cap:
            found.append(self._full(calls))
        starts = time_of(scope.get("not_before"))
        if starts is not None and starts > self._now():
            found.append(f"scope.not_before is {spelled(starts)}: until then no token could be proven to work")
        return found + self._catalogue.resolve(calls, grants_of(scope)).problems

    def remarks(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        """Little room, which overlaps will miss, and more than one account."""
        found = []
        count = self._tokens(self._api.calls()).count()
        if count >= NEARLY_FULL * self._family.cap:
            found.append(f"{self._family} has {count} of {self._family.cap} tokens: each overlap needs one more for a while")
        words = {word for grant in grants_of(scope) if grant.effect == "allow" for word in grant.resources}
        if self._family.account is None and words & {"account/*", *([] if self._settings.account_id else ["zone/*"])}:
            found.append("its scope holds for all accounts that the user is in, those to come too")
        return found

    def survey(self) -> Sequence[str]:
        """Values in an old form; and where that is asked for, who else may act."""
        account = self._settings.account_id if self._settings.survey else None
        return self._legacy.sentences() + (survey(self._api.calls(), account, self._now()) if account else [])

    def preview(self, request: MintRequest) -> JsonMap:
        """The request that would make the token. Read-only."""
        calls = self._api.calls()
        return {"method": "POST", "path": self._family.base, "body": self._body(calls, request)}

    def rights(self, scope: JsonMap, parameters: JsonMap) -> Sequence[CloudflareRight]:
        return rights_of(self._family, scope, survey=self._settings.survey)

    # --- our own token ------------------------------------------------------------------------------------------

    def works_with(self, secret: Secrets, needs: Sequence[Any]) -> Sequence[str]:
        around = replace(self._surroundings, secret=secret)
        there = CloudflareTokens(self._settings, around, self._api.under(around))
        found = [sentence for scope, parameters in needs or () for sentence in there.preflight(scope, parameters)]
        calls = there._api.calls()
        fresh = there._ourselves.look(calls)
        if not needs:
            found += own.lacking(fresh, self._family, there._catalogue, calls)
        found += own.differs(fresh, self._ourselves.last, self._family)
        return list(dict.fromkeys(found))

    def take_up(self) -> None:
        """It is read anew for every request; what was seen of the former one is forgotten."""
        self._ourselves.forget()

    def own_life(self) -> Sequence[Life]:
        return [own.life(self._ourselves.look(self._api.calls()), self._api.form())]

    def sent(self) -> int:
        """How many requests were made since this was asked last."""
        return self._api.sent()

    def principal(self) -> str:
        """Whose quota those are."""
        return self._api.principal()

    # --- ours ---------------------------------------------------------------------------------------------------

    def _tokens(self, calls: Calls, family: Family | None = None) -> Tokens:
        """The tokens of a family, ours if none is named. Raises Denied where those would be another user's than meant."""
        found = Tokens(calls, family or self._family)
        if found.family.account is None and self._settings.user is not None:
            own.check_user(self._ourselves.look(calls), self._settings.user)
        return found

    def _meant(self, calls: Calls, ref: str) -> tuple[Tokens, str]:
        """The tokens among which a ref is, and its id there: those of another account or of the user are not ours only
        because the settings say something else by now."""
        family, token_id = self._family.parsed(ref)
        return self._tokens(calls, family), token_id

    def _fields(self, id: str, value: str) -> Secret:
        derived = {"access_key_id": id, "secret_access_key": hashlib.sha256(value.encode()).hexdigest()}
        return Secret({"token": value, **(derived if self._settings.s3_keys else {})})

    def _body(self, calls: Calls, request: MintRequest) -> JsonMap:
        """What is sent to make the token."""
        name = name_of(request.installation, request.credential, request.rotation, request.generation)
        resolved: Resolved = self._catalogue.resolve(calls, grants_of(request.scope))
        if resolved.problems:
            raise Invalid("; ".join(resolved.problems))
        body: JsonMap = {"name": name, "policies": resolved.policies}
        if (condition := condition_of(request.scope)) is not None:
            body["condition"] = condition
        if request.ttl is not None:
            seconds = math.ceil((self._now() + request.ttl).timestamp())
            body["expires_on"] = spelled(datetime.fromtimestamp(seconds, self._now().tzinfo))
        if (starts := time_of(request.scope.get("not_before"))) is not None:
            body["not_before"] = spelled(starts)
        return body

    def _seen(self, calls: Calls, token: Mapping[str, Any], asked: JsonMap) -> JsonMap:
        """What a token may do: the words asked for where they mean just that, else in words as far as there are any."""
        shown = condition_seen(token)
        wanted = {"in": asked.get("ip_allow") or [], "not_in": asked.get("ip_deny") or []}
        same = all(same_networks(shown.get(key, ()), wanted[key]) for key in wanted)
        same = same and time_of(token.get("not_before")) == time_of(asked.get("not_before"))
        policies = token.get("policies") or []
        if asked and same:
            resolved = self._catalogue.resolve(calls, grants_of(asked))
            if not resolved.problems and flat(resolved.policies) == flat(policies):
                return asked
        scope = in_words(self._catalogue.words(calls, policies))
        names = {"in": "ip_allow", "not_in": "ip_deny"}
        scope |= {names[key]: wanted[key] if same_networks(items, wanted[key]) else items for key, items in shown.items()}
        if token.get("not_before"):
            scope["not_before"] = token["not_before"]
        return {**scope, "policies": list(policies)} if scope == asked else scope

    def _full(self, calls: Calls) -> str:
        """Why there is no room, for who has to make some. Raises Retryable where the end of overlaps will."""
        tokens = self._tokens(calls).all()
        words = f"{self._family} has {len(tokens)} tokens, and Cloudflare allows {self._family.cap}"
        if ending := surplus(tokens, self._surroundings.installation):
            raise Retryable(f"{words}; {ending} of them are in their overlap and make room when it ends")
        idle = unused(tokens, self._now() - LONG_UNUSED)
        return f"{words}: delete what nobody needs ({idle} were not used for {LONG_UNUSED.days} days)"

    def _meet(self, credential: str) -> None:
        with self._lock:
            self._met[digest(credential)] = credential

    def _known(self) -> dict[str, str]:
        with self._lock:
            return dict(self._met)

    def _remember(self, value: str, ref: str) -> None:
        self._legacy.note(ref, value)
        with self._lock:
            _bounded(self._refs, _digest(value), ref)

    def _shown(self, calls: Calls, ref: str) -> JsonMap:
        """What Cloudflare shows of a token; nothing where it is gone, or another's and not ours to look at."""
        if not ref:
            return {}
        tokens, token_id = self._meant(calls, ref)
        try:
            return tokens.one(token_id)
        except NotFound:
            return {}
        except Denied:
            if tokens.family == self._family:
                raise
            return {}

    def _note_probe(self, id: str, before: Mapping[str, Any], probed: datetime) -> None:
        """Without a look before, our own use cannot be told from one of others: then it counts as one."""
        if before.get("id") != id:
            return
        used = self._use_by_others(before)
        with self._lock:
            _bounded(self._probed, id, (used, probed))

    def _use_by_others(self, token: Mapping[str, Any]) -> datetime | None:
        used = time_of(token.get("last_used_on"))
        with self._lock:
            before, probed = self._probed.get(token["id"], (None, None))
        ours = probed is not None and used is not None and abs(used - probed) <= OUR_PROBE
        return before if ours else used


def create(settings: JsonMap, surroundings: Surroundings) -> CloudflareTokens:
    """The factory behind the entry point ``cloudflare``."""
    return CloudflareTokens(Settings.model_validate(settings), surroundings)


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _bounded(kept: OrderedDict[str, Any], key: str, value: Any) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > REMEMBERED:
        kept.popitem(last=False)
