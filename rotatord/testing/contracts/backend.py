"""What every backend must do; see :class:`rotatord.ports.Backend`."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from rotatord.errors import Conflict, Denied, Invalid, OutsideError, Retryable
from rotatord.model import Destination, Slot
from rotatord.ports import Backend, BackendPreflight
from rotatord.secret import Secret
from rotatord.testing.contracts.backend_setting import (
    AWKWARD,
    FIRST,
    MARKER,
    SECOND,
    BackendSetting,
    Placing,
    later,
    put,
    token_of,
)
from rotatord.testing.contracts.common import assert_hides, assert_within, texts_of


class BackendContract(BackendSetting):
    """The whole suite. Fixtures: see ``BackendSetting``."""

    def test_a_good_address_has_no_problems(self, backend: Backend, destination: Destination) -> None:
        """What can be used passes the static check, and the timeout is a bound."""
        assert list(backend.check(destination)) == []
        assert 0 < backend.timeout < float("inf")

    @pytest.mark.parametrize("slot", list(Slot))
    def test_a_missing_document_is_empty(self, backend: Backend, destination: Destination, slot: Slot) -> None:
        """Nothing there: empty, with a token that stays the same until something is written."""
        held = backend.read(destination, slot)
        assert held.empty
        assert (held.fields, held.marker) == (None, None)
        assert held.token == token_of(backend, destination, slot)

    @pytest.mark.parametrize("slot", list(Slot))
    def test_what_is_written_is_read_back(self, backend: Backend, destination: Destination, slot: Slot) -> None:
        """Fields and marker come back as written, intact, under the token that write returned."""
        token = put(backend, destination, slot, FIRST)
        held = backend.read(destination, slot)
        assert not held.empty
        assert held.intact
        assert held.fields == FIRST
        assert held.marker == MARKER
        assert held.token == token

    @pytest.mark.parametrize("slot", list(Slot))
    def test_a_stale_token_is_a_conflict(self, backend: Backend, destination: Destination, slot: Slot) -> None:
        """A write or clear under an old token is refused and changes nothing."""
        stale = token_of(backend, destination, slot)
        token = put(backend, destination, slot, FIRST)
        with pytest.raises(Conflict) as caught:
            backend.write(destination, slot, SECOND, later(MARKER), stale)
        assert_hides(texts_of(caught.value), [FIRST, SECOND])
        with pytest.raises(Conflict):
            backend.clear(destination, slot, stale)
        held = backend.read(destination, slot)
        assert (held.fields, held.marker, held.token) == (FIRST, MARKER, token)

    @pytest.mark.parametrize("slot", list(Slot))
    def test_every_write_changes_the_token(self, backend: Backend, destination: Destination, slot: Slot) -> None:
        """Also a write of the very same content, so that a late copy of an earlier write is refused."""
        tokens = [token_of(backend, destination, slot)]
        for _ in range(3):
            tokens.append(backend.write(destination, slot, FIRST, MARKER, tokens[-1]))
        assert len(set(tokens)) == 4
        for old in tokens[:-1]:
            with pytest.raises(Conflict):
                backend.write(destination, slot, SECOND, MARKER, old)

    @pytest.mark.parametrize("slot", list(Slot))
    def test_clear_empties(self, backend: Backend, destination: Destination, slot: Slot) -> None:
        """A cleared slot is empty under the token that clear returned, and can be written again."""
        token = backend.clear(destination, slot, put(backend, destination, slot, FIRST))
        held = backend.read(destination, slot)
        assert held.empty
        assert (held.fields, held.marker, held.token) == (None, None, token)
        backend.write(destination, slot, SECOND, later(MARKER), token)
        assert backend.read(destination, slot).fields == SECOND

    @pytest.mark.parametrize("slot", list(Slot))
    def test_clearing_an_empty_slot_changes_its_token(self, backend: Backend, destination: Destination, slot: Slot) -> None:
        """A write that was meant for the empty slot and lands after the clear is refused."""
        before = token_of(backend, destination, slot)
        after = backend.clear(destination, slot, before)
        again = backend.clear(destination, slot, after)
        assert len({before, after, again}) == 3
        for old in (before, after):
            with pytest.raises(Conflict):
                backend.write(destination, slot, FIRST, MARKER, old)
        held = backend.read(destination, slot)
        assert held.empty
        assert held.token == again

    @pytest.mark.parametrize("slot", list(Slot))
    def test_a_write_that_lands_after_a_clear_is_refused(self, backend: Backend, destination: Destination, slot: Slot) -> None:
        """Tokens never come back: neither the one before the write nor the one it made is good after a clear."""
        empty = token_of(backend, destination, slot)
        written = backend.write(destination, slot, FIRST, MARKER, empty)
        backend.clear(destination, slot, written)
        for old in (empty, written):
            with pytest.raises(Conflict):
                backend.write(destination, slot, SECOND, MARKER, old)
        assert backend.read(destination, slot).empty

    def test_slots_are_independent(self, backend: Backend, destination: Destination) -> None:
        """A write or clear of one slot changes neither content nor token of the others."""
        tokens = {slot: put(backend, destination, slot, FIRST, later(MARKER, by)) for by, slot in enumerate(Slot, 1)}
        backend.clear(destination, Slot.PENDING, tokens[Slot.PENDING])
        backend.write(destination, Slot.CURRENT, SECOND, later(MARKER, 9), tokens[Slot.CURRENT])
        previous = backend.read(destination, Slot.PREVIOUS)
        assert (previous.fields, previous.marker) == (FIRST, later(MARKER, 3))
        assert previous.token == tokens[Slot.PREVIOUS]
        assert backend.read(destination, Slot.PENDING).empty
        assert backend.read(destination, Slot.CURRENT).fields == SECOND

    def test_destinations_are_independent(self, backend: Backend, place: Placing) -> None:
        """What happens at one destination is not seen at another."""
        here, there = place(), place()
        put(backend, here, Slot.CURRENT, FIRST)
        assert backend.read(there, Slot.CURRENT).empty
        put(backend, there, Slot.CURRENT, SECOND, later(MARKER))
        assert backend.read(here, Slot.CURRENT).fields == FIRST

    @pytest.mark.parametrize("slot", [Slot.CURRENT, Slot.PENDING])
    @pytest.mark.parametrize("kind", list(AWKWARD))
    def test_awkward_values_survive(self, backend: Backend, destination: Destination, slot: Slot, kind: str) -> None:
        """Nothing is cut, unquoted, trimmed or taken for a number."""
        secret = Secret(AWKWARD[kind])
        put(backend, destination, slot, secret)
        held = backend.read(destination, slot)
        assert held.fields == secret
        assert held.intact

    def test_several_fields_go_in_one_write(self, backend: Backend, place: Placing) -> None:
        """All fields switch together and come back together."""
        destination = place({"KEY_ID": "id", "SECRET_KEY": "key"})
        pair = Secret({"id": "AKIACONTRACT", "key": "contract-key-1"})
        put(backend, destination, Slot.CURRENT, pair)
        assert backend.read(destination, Slot.CURRENT).fields == pair
        other = Secret({"id": "AKIAOTHER", "key": "contract-key-2"})
        put(backend, destination, Slot.CURRENT, other, later(MARKER))
        assert backend.read(destination, Slot.CURRENT).fields == other

    def test_pending_and_previous_hold_fields_that_no_key_shows(self, backend: Backend, place: Placing) -> None:
        """The keys are for readers of current: the other slots hold every field verbatim."""
        destination = place({"ONLY": "key"})
        pair = Secret({"id": "AKIACONTRACT", "key": "contract-key-1"})
        for slot in (Slot.PENDING, Slot.PREVIOUS):
            put(backend, destination, slot, pair)
            assert backend.read(destination, slot).fields == pair
        put(backend, destination, Slot.CURRENT, pair)
        held = backend.read(destination, Slot.CURRENT)
        assert held.intact
        assert held.marker == MARKER
        assert held.fields in (None, pair)

    def test_readers_see_their_keys_templates_and_the_label(
        self, backend: Backend, place: Placing, reader: Callable[[Destination], dict[str, str]] | None
    ) -> None:
        """A key takes a field or a template around it, and the companion key takes the version's label."""
        read = self.needed("reader", reader)
        destination = place({"TOKEN": "token", "HEADER": "Bearer {token}"}, "VERSION")
        put(backend, destination, Slot.CURRENT, FIRST)
        value = FIRST.reveal("token")
        assert read(destination) == {"TOKEN": value, "HEADER": f"Bearer {value}", "VERSION": MARKER.label}
        put(backend, destination, Slot.PENDING, SECOND, later(MARKER))
        assert read(destination)["TOKEN"] == value

    def test_a_field_that_does_not_exist_is_invalid(self, backend: Backend, place: Placing) -> None:
        """A key that names no field of the secret: Invalid, nothing written, no value shown."""
        destination = place({"PASSWORD": "password"})
        token = token_of(backend, destination, Slot.CURRENT)
        with pytest.raises(Invalid) as caught:
            backend.write(destination, Slot.CURRENT, FIRST, MARKER, token)
        assert_hides(texts_of(caught.value), [FIRST])
        assert token_of(backend, destination, Slot.CURRENT) == token

    @pytest.mark.parametrize("slot", list(Slot))
    def test_of_two_writers_one_wins(self, backend: Backend, destination: Destination, slot: Slot) -> None:
        """Writers that read the same token: exactly one succeeds, and its value is what lies there."""
        expect = token_of(backend, destination, slot)
        secrets = [Secret({"token": f"contract-racer-{number}"}) for number in range(4)]
        outcomes = _race([_writing(backend, destination, slot, secret, expect) for secret in secrets])
        winners = [secret for secret, outcome in zip(secrets, outcomes, strict=True) if isinstance(outcome, str)]
        assert len(winners) == 1
        assert all(isinstance(outcome, str | Conflict) for outcome in outcomes)
        assert backend.read(destination, slot).fields == winners[0]

    def test_our_own_last_write_is_read(self, backend: Backend, destination: Destination) -> None:
        """Reads are never older than what this plugin wrote."""
        token = token_of(backend, destination, Slot.CURRENT)
        for number in range(10):
            secret = Secret({"token": f"contract-turn-{number}"})
            token = backend.write(destination, Slot.CURRENT, secret, later(MARKER, number + 1), token)
            assert backend.read(destination, Slot.CURRENT).fields == secret

    def test_writes_are_durable(
        self, backend: Backend, destination: Destination, reopened: Callable[[], Backend] | None
    ) -> None:
        """Another plugin over the same store sees slots, markers and tokens alike."""
        again = self.needed("reopened", reopened)
        tokens = {slot: put(backend, destination, slot, FIRST) for slot in (Slot.CURRENT, Slot.PENDING)}
        tokens[Slot.PREVIOUS] = backend.clear(destination, Slot.PREVIOUS, token_of(backend, destination, Slot.PREVIOUS))
        other = again()
        for slot, token in tokens.items():
            assert other.read(destination, slot).token == token
        assert other.read(destination, Slot.PENDING).fields == FIRST
        assert other.read(destination, Slot.CURRENT).marker == MARKER

    @pytest.mark.parametrize("slot", [Slot.PENDING, Slot.PREVIOUS])
    def test_cleared_values_cannot_be_recovered(
        self, backend: Backend, destination: Destination, slot: Slot, raw_bytes: Callable[[], bytes] | None
    ) -> None:
        """After a clear no earlier value of the slot is anywhere in the store; before it, the search does find one."""
        raw = self.needed("raw_bytes", raw_bytes)
        token = put(backend, destination, slot, FIRST)
        token = backend.write(destination, slot, SECOND, later(MARKER), token)
        assert SECOND.reveal("token").encode() in raw(), "the search itself must work"
        backend.clear(destination, slot, token)
        stored = raw()
        for secret in (FIRST, SECOND):
            assert secret.reveal("token").encode() not in stored, "a cleared value is still stored"

    def test_a_change_by_hand_is_seen(
        self, backend: Backend, destination: Destination, tamper: Callable[[Destination], None] | None
    ) -> None:
        """Content that is not what the marker's write put there is not intact, and the token moved."""
        change = self.needed("tamper", tamper)
        token = put(backend, destination, Slot.CURRENT, FIRST)
        change(destination)
        held = backend.read(destination, Slot.CURRENT)
        assert held.marker is None or not held.intact
        assert held.token != token
        with pytest.raises(Conflict):
            backend.write(destination, Slot.CURRENT, SECOND, later(MARKER), token)
        put(backend, destination, Slot.CURRENT, SECOND, later(MARKER))
        assert backend.read(destination, Slot.CURRENT).intact

    def test_a_foreign_document_is_not_ours(
        self, backend: Backend, destination: Destination, plant: Callable[[Destination], None] | None
    ) -> None:
        """Somebody else's value is not empty and has no marker of ours; it is replaced only under its own token."""
        sow = self.needed("plant", plant)
        before = token_of(backend, destination, Slot.CURRENT)
        sow(destination)
        held = backend.read(destination, Slot.CURRENT)
        assert not held.empty
        assert held.marker is None
        with pytest.raises(Conflict):
            backend.write(destination, Slot.CURRENT, FIRST, MARKER, before)
        backend.write(destination, Slot.CURRENT, FIRST, MARKER, held.token)
        assert backend.read(destination, Slot.CURRENT).marker == MARKER

    def test_nothing_prints_the_value(self, backend: Backend, destination: Destination) -> None:
        """Neither what is read nor the plugin shows a value in its repr."""
        put(backend, destination, Slot.CURRENT, FIRST)
        assert_hides(f"{backend.read(destination, Slot.CURRENT)!r} {backend!r} {destination!r}", [FIRST])

    def test_preflight_only_looks(self, backend: Backend, destination: Destination) -> None:
        """A usable destination has no problems, and looking changes nothing."""
        if not isinstance(backend, BackendPreflight):
            pytest.skip("has no preflight")
        before = [backend.read(destination, slot) for slot in Slot]
        assert list(backend.preflight(destination)) == []
        assert list(backend.preflight(destination, home=False)) == []
        assert [backend.read(destination, slot) for slot in Slot] == before

    def test_a_denied_identity_is_told_so(self, denied: Backend | None, destination: Destination) -> None:
        """Without permission every call is Denied: never "empty"."""
        plugin = self.needed("denied", denied)
        for call in _calls(plugin, destination):
            with pytest.raises(Denied) as caught:
                call()
            assert_hides(texts_of(caught.value), [FIRST])

    def test_an_unreachable_store_is_retryable(self, unreachable: Backend | None, destination: Destination) -> None:
        """Nobody there: Retryable within the timeout, and no value is shown."""
        _assert_no_answer(self.needed("unreachable", unreachable), destination)

    def test_a_hanging_store_is_given_up(self, hanging: Backend | None, destination: Destination) -> None:
        """A store that never answers is Retryable within the plugin's own timeout."""
        _assert_no_answer(self.needed("hanging", hanging), destination)


def _calls(plugin: Backend, destination: Destination) -> tuple[Callable[[], object], ...]:
    return (
        lambda: plugin.read(destination, Slot.CURRENT),
        lambda: plugin.write(destination, Slot.CURRENT, FIRST, MARKER, "0"),
        lambda: plugin.clear(destination, Slot.PENDING, "0"),
    )


def _assert_no_answer(plugin: Backend, destination: Destination) -> None:
    for call in _calls(plugin, destination):
        result = assert_within(plugin.timeout, call, (OutsideError,))
        assert isinstance(result, Retryable)
        assert_hides(texts_of(result), [FIRST])


def _writing(
    backend: Backend, destination: Destination, slot: Slot, secret: Secret, expect: str
) -> Callable[[], str | Exception]:
    def write() -> str | Exception:
        try:
            return backend.write(destination, slot, secret, MARKER, expect)
        except Exception as error:  # noqa: BLE001 - whatever it was is judged by the test
            return error

    return write


def _race(runs: list[Callable[[], str | Exception]]) -> list[str | Exception]:
    """All at once, each in a thread of its own; their outcomes in order."""
    start = threading.Barrier(len(runs))
    outcomes: dict[int, str | Exception] = {}

    def run(number: int) -> None:
        start.wait(timeout=10)
        outcomes[number] = runs[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(runs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(outcomes) == len(runs), "a writer never came back"
    return [outcomes[number] for number in range(len(runs))]
