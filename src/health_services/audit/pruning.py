"""Forgetting what is older than the law asks for, without breaking the chain: a signed checkpoint takes its place."""

from datetime import datetime

from health_services.audit.chain import CHECKPOINT, Link
from health_services.audit.repository import BATCH, ChainRepository
from health_services.audit.service import of_command
from health_services.audit.verification import Advance, Tell, Verification
from health_services.database.engine import Database
from health_services.database.sealing import vault_of
from health_services.errors import OperatorError

ACTION = "audit prune"


async def prune(owner: Database, before: datetime, tell: Tell, advance: Advance) -> int:
    """Delete the sealed entries that are older than the instant, with their seals; how many.

    Raises OperatorError where the audit is not whole: what was changed must not be forgotten. What a pruning that was
    broken off has left is deleted too.
    """
    async with owner.writing() as session, session.begin():
        report = await Verification(session, None, tell, lambda *_: None).run()
    if report.findings:
        raise OperatorError("The audit is not whole, as said above; nothing was deleted.")
    await _drop_before(owner, report.start, advance)
    async with owner.writing() as session, session.begin():
        chain = ChainRepository(session)
        await chain.wait_for_turn()
        link = await chain.last_before(before)
        if link is None or link.seq <= report.start.seq:
            return 0
        key_id, signature = vault_of(session).authenticate(CHECKPOINT, link.signed())
        await chain.put_checkpoint(link, key_id, signature)
        await of_command(session, ACTION)
    await _drop_before(owner, link, advance)
    return link.seq - report.start.seq


async def _drop_before(owner: Database, checkpoint: Link, advance: Advance) -> None:
    """Delete what stands before the checkpoint, in short transactions."""
    dropped, done = BATCH, 0
    while dropped == BATCH:
        async with owner.writing() as session, session.begin():
            dropped = await ChainRepository(session).drop_before(checkpoint.seq, BATCH)
        done += dropped
        advance(done, checkpoint.seq)
