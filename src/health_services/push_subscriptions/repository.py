"""SQL of push subscriptions."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, func, null, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.database.context import as_service
from health_services.pagination import Page
from health_services.push_subscriptions.models import PushSubscription
from health_services.users.models import User

# How long one that is not reached is left alone: as long as that has lasted, between these two; and how long it may be.
SHORTEST_HOLD, LONGEST_HOLD = timedelta(seconds=30), timedelta(hours=1)
LONGEST_FAILING = timedelta(days=14)


class PushSubscriptionRepository:
    """Browsers, by their owner and by their endpoint, which is unique."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def others(self, user_id: int, endpoint: str) -> int:
        """How many subscriptions the user has besides this one; two who ask and then put one do so in turn."""
        lock = select(User.id).where(User.id == user_id).with_for_update(key_share=True)
        await self._session.execute(lock)
        # a statement of its own, whose snapshot is younger than the lock
        query = select(func.count()).where(PushSubscription.user_id == user_id, PushSubscription.endpoint != endpoint)
        return await self._session.scalar(query) or 0

    async def put(self, user_id: int, endpoint: str, p256dh: str, auth: str) -> AnyRow:
        """Insert, or give a known endpoint to this user with new keys."""
        statement = insert(PushSubscription).values(user_id=user_id, endpoint=endpoint, p256dh=p256dh, auth=auth)
        new = statement.excluded
        moved = {"user_id": new.user_id, "p256dh": new.p256dh, "auth": new.auth, "updated_at": func.now()}
        moved |= {"failing_since": null(), "held_until": null()}
        statement = statement.on_conflict_do_update(index_elements=[PushSubscription.endpoint], set_=moved)
        returned = (PushSubscription.id, PushSubscription.endpoint, PushSubscription.created_at)
        async with as_service(self._session):  # a browser that somebody else subscribed with before is not his to see
            return (await self._session.execute(statement.returning(*returned))).one()

    async def list(self, user_id: int, page: Page) -> Sequence[AnyRow]:
        """The user's subscriptions by id, without keys; one more than the page holds."""
        query = select(PushSubscription.id, PushSubscription.endpoint, PushSubscription.created_at)
        query = query.where(PushSubscription.user_id == user_id)
        return (await self._session.execute(page.of(query, PushSubscription.id))).all()

    async def of_user(self, user_id: int) -> Sequence[AnyRow]:
        """Where the user is reached, for sending: `id`, `endpoint`, `p256dh`, `auth` and `held_until`, by id."""
        found = PushSubscription
        query = select(found.id, found.endpoint, found.p256dh, found.auth, found.held_until)
        return (await self._session.execute(query.where(found.user_id == user_id).order_by(found.id))).all()

    async def remove(self, subscription_id: int, user_id: int) -> bool:
        """Whether the user had such a subscription to remove."""
        query = delete(PushSubscription).where(
            PushSubscription.id == subscription_id, PushSubscription.user_id == user_id
        )
        return await self._session.scalar(query.returning(PushSubscription.id)) is not None

    async def forget(self, subscription_id: int) -> None:
        """Remove what its push service knows no more."""
        await self._session.execute(delete(PushSubscription).where(PushSubscription.id == subscription_id))

    async def hold(self, subscription_id: int) -> None:
        """Leave alone for a while what was not reached; remove what has not been for LONGEST_FAILING."""
        found = PushSubscription
        is_hopeless = found.failing_since <= func.now() - LONGEST_FAILING
        await self._session.execute(delete(found).where(found.id == subscription_id, is_hopeless))
        pause = func.least(LONGEST_HOLD, func.greatest(SHORTEST_HOLD, func.now() - found.failing_since))
        held = {"failing_since": func.coalesce(found.failing_since, func.now()), "held_until": func.now() + pause}
        await self._session.execute(update(found).where(found.id == subscription_id).values(held))

    async def end_hold(self, subscription_id: int) -> None:
        """Send as if it had always been reached."""
        ended = update(PushSubscription).where(PushSubscription.id == subscription_id)
        await self._session.execute(ended.values(failing_since=None, held_until=None))
