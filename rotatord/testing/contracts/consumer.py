"""What every consumer must do; see :class:`rotatord.ports.Consumer`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar

import pytest

from rotatord.errors import OutsideError, Retryable
from rotatord.ports import Consumer, Published
from rotatord.testing.contracts.common import Contract, assert_within, eventually

EVIDENCE = {"attestation", "rollout", "polling", "none"}


class ConsumerSetting(Contract):
    """The fixtures of the consumer suite. ``consumer`` and ``publish`` must be given."""

    reload_asks_nobody: ClassVar[bool] = False  # True for consumers that refresh by themselves: reload cannot fail
    reload_awaits_nothing: ClassVar[bool] = False  # True where telling is all, as with a signal: who hangs is told as well

    @pytest.fixture
    def consumer(self) -> Consumer:
        """A plugin over a running consumer."""
        raise NotImplementedError

    @pytest.fixture
    def publish(self) -> Callable[[], Published]:
        """Puts a new version where the consumer reads it, each time another, and says what to tell the consumer."""
        raise NotImplementedError

    @pytest.fixture
    def copies(self) -> int | None:
        """How many instances run, where the plugin can count them."""
        return None

    @pytest.fixture
    def loads(self) -> Callable[[], int] | None:
        """How often the consumer has been made to load so far, as the consumer itself counts."""
        return None

    @pytest.fixture
    def deaf(self) -> Consumer | None:
        """The same plugin over a consumer that accepts reloads and goes on with what it has."""
        return None

    @pytest.fixture
    def refusing(self) -> Consumer | None:
        """The same plugin over a consumer that says that it could not load what was published."""
        return None

    @pytest.fixture
    def unreachable(self) -> Consumer | None:
        """The same plugin over a consumer that is not there to be asked."""
        return None

    @pytest.fixture
    def hanging(self) -> Consumer | None:
        """The same plugin over a consumer that never answers (``rotatord.testing.silent``)."""
        return None


class ConsumerContract(ConsumerSetting):
    """The whole suite."""

    def test_it_says_what_its_proof_is(self, consumer: Consumer) -> None:
        """The kind of evidence is one that the gate knows, and the timeout is a bound."""
        assert consumer.evidence in EVIDENCE
        assert 0 < consumer.timeout < float("inf")

    def test_a_reloaded_consumer_proves_it(self, consumer: Consumer, publish: Callable[[], Published]) -> None:
        """After reload every instance attests the new label, or was created after it was published."""
        for _ in range(2):
            published = publish()
            consumer.reload(published)
            if consumer.evidence == "attestation":
                eventually(partial(_attested, consumer, published), "attestation of the new version")
            elif consumer.evidence == "rollout":
                eventually(partial(_rolled_out, consumer, published), "new instances")
            else:
                assert all(instance.version is None for instance in consumer.instances(published))

    def test_nothing_is_attested_that_was_not_published(self, consumer: Consumer, publish: Callable[[], Published]) -> None:
        """Asked about a label that nobody ever published, no instance claims it."""
        never = replace(publish(), label="999-ffffffff", token="never")  # noqa: S106 - an idempotence token
        assert all(instance.version != never.label for instance in consumer.instances(never))

    def test_one_token_is_one_reload(
        self, consumer: Consumer, publish: Callable[[], Published], loads: Callable[[], int] | None
    ) -> None:
        """Reloading again with the same token makes the consumer load no second time; a new token does."""
        count = self.needed("loads", loads)
        published = publish()
        before = count()
        consumer.reload(published)
        eventually(lambda: count() == before + 1, "the first reload")
        consumer.reload(published)
        another = publish()
        consumer.reload(another)
        eventually(lambda: count() >= before + 2, "the second reload")
        assert count() == before + 2

    def test_reload_may_be_repeated(self, consumer: Consumer, publish: Callable[[], Published]) -> None:
        """Repeating a reload is harmless: the proof is the same afterwards."""
        published = publish()
        for _ in range(3):
            consumer.reload(published)
        if consumer.evidence == "attestation":
            eventually(lambda: _attested(consumer, published), "attestation of the new version")

    def test_instances_are_complete(self, consumer: Consumer, publish: Callable[[], Published], copies: int | None) -> None:
        """Every running copy is listed once, under a name of its own."""
        expected = self.needed("copies", copies)
        names = [instance.id for instance in consumer.instances(publish()) if not instance.terminating]
        assert len(names) == expected
        assert len(set(names)) == expected
        assert all(names)

    def test_accepted_is_not_applied(self, deaf: Consumer | None, publish: Callable[[], Published]) -> None:
        """A consumer that accepts a reload and does nothing is not proven by it."""
        plugin = self.needed("deaf", deaf)
        published = publish()
        plugin.reload(published)
        for instance in plugin.instances(published):
            assert instance.version != published.label
            assert instance.created_at is None or instance.created_at < published.at

    def test_a_refused_version_is_named(self, refusing: Consumer | None, publish: Callable[[], Published]) -> None:
        """An instance that says it could not load the version is reported with its label, and not as running on it."""
        plugin = self.needed("refusing", refusing)
        published = publish()
        plugin.reload(published)
        eventually(
            lambda: any(instance.refused == published.label for instance in plugin.instances(published)),
            "word of the refusal",
        )
        assert all(instance.version != published.label for instance in plugin.instances(published))

    def test_who_cannot_be_asked_is_retryable(self, unreachable: Consumer | None, publish: Callable[[], Published]) -> None:
        """Instances that cannot be asked are Retryable, never an empty list; so is a reload that reaches nobody."""
        self._assert_no_answer(self.needed("unreachable", unreachable), publish(), fine=self.reload_asks_nobody)

    def test_a_hanging_consumer_is_given_up(self, hanging: Consumer | None, publish: Callable[[], Published]) -> None:
        """A consumer that never answers is Retryable within the plugin's own timeout."""
        fine = self.reload_asks_nobody or self.reload_awaits_nothing
        self._assert_no_answer(self.needed("hanging", hanging), publish(), fine=fine)

    def _assert_no_answer(self, plugin: Consumer, published: Published, *, fine: bool) -> None:
        """Who runs on what cannot be learnt in time; and a reload fails in time, unless it is ``fine``."""
        seen = assert_within(plugin.timeout, lambda: plugin.instances(published), (OutsideError,))
        assert isinstance(seen, Retryable)
        asked = assert_within(plugin.timeout, lambda: plugin.reload(published), (OutsideError,))
        assert asked is None if fine else isinstance(asked, Retryable)


def _attested(consumer: Consumer, published: Published) -> bool:
    seen = consumer.instances(published)
    return bool(seen) and all(instance.version == published.label for instance in seen)


def _rolled_out(consumer: Consumer, published: Published) -> bool:
    seen = consumer.instances(published)
    return bool(seen) and all(
        instance.created_at is not None and instance.created_at >= published.at and not instance.terminating
        for instance in seen
    )
