"""What endpoints are given: the request's session, the present instant, a page."""

from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import parse_qsl, urlencode

from fastapi import Depends, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.api.fields import LimitInUrl, SkipInUrl
from health_services.pagination import MAX_LIMIT, Page


def current_session(request: Request) -> AsyncSession:
    """The session that the route opened for this request; its transaction ends before the answer goes out."""
    session: AsyncSession = request.state.session
    return session


def current_instant() -> datetime:
    """Now, in UTC: the only place where a request looks at the clock."""
    return datetime.now(UTC)


def requested_page(
    skip: Annotated[SkipInUrl, Query(description="rows to leave out")] = 0,
    limit: Annotated[LimitInUrl, Query(description="rows to answer at most")] = MAX_LIMIT,
) -> Page:
    """The guide's `skip` and `limit`."""
    return Page(skip, limit)


Session = Annotated[AsyncSession, Depends(current_session, scope="function")]
Now = Annotated[datetime, Depends(current_instant, scope="function")]
Paging = Annotated[Page, Depends(requested_page, scope="function")]


def link_next(request: Request, response: Response, page: Page, has_more: bool) -> None:
    """Name the next page in the Link header (RFC 8288) while there is more."""
    if has_more:
        others = [(k, v) for k, v in parse_qsl(request.url.query) if k not in {"skip", "limit", "token"}]
        query = urlencode([*others, ("skip", page.skip + page.limit), ("limit", page.limit)])
        response.headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
