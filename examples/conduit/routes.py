"""The specification's URLs. What reads is answered by Mizan; what writes is code that does not know of it."""

import re
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Request, Response
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from mizan_asgi import Mizan

from . import clients, queries
from .accounts import MEMBERS, CurrentUser, hashed, matches, told_to
from .clients import Limit, Offset
from .database import Session
from .errors import missing, refused
from .models import Article, Comment, Tag, User
from .schemas import (
    Account,
    Draft,
    Login,
    OfArticle,
    OfComment,
    OfComments,
    OfProfile,
    OfTags,
    OfUser,
    Page,
    Registration,
    Remark,
    Revision,
    Said,
    Settings,
    Shown,
)

router = APIRouter(prefix="/api")

_TAKEN = "has already been taken"


def _mizan(request: Request) -> Mizan:
    found: Mizan = request.app.state.mizan
    return found


Kept = Annotated[Mizan, Depends(_mizan)]


# Accounts, which are not kept: each answer has a token


@router.post("/users/login")
async def login(user: Annotated[Login, Body(embed=True)], session: Session) -> OfUser[Account]:
    found = await session.scalar(select(User).where(User.email == user.email))
    if found is None or not await matches(user.password, found.password):
        raise refused(401, "credentials", "invalid")
    return told_to(found)


@router.post("/users", status_code=201)
async def register(user: Annotated[Registration, Body(embed=True)], session: Session) -> OfUser[Account]:
    await _check_free(session, user.username, user.email)
    created = User(username=user.username, email=user.email, password=await hashed(user.password))
    session.add(created)
    await _commit(session, "username")
    return told_to(created)


@router.get("/user")
async def account(me: CurrentUser) -> OfUser[Account]:
    return told_to(me)


@router.put("/user")
async def change_account(
    user: Annotated[Settings, Body(embed=True)], me: CurrentUser, session: Session
) -> OfUser[Account]:
    changed = user.model_dump(exclude_unset=True)
    await _check_free(session, changed.get("username"), changed.get("email"), me)
    if "password" in changed:
        changed["password"] = await hashed(changed["password"])
    for field, value in changed.items():
        setattr(me, field, value)
    await _commit(session, "username")
    return told_to(me)


# Profiles


@router.get("/profiles/{username}", response_model=OfProfile)
async def profile(request: Request, username: str, mizan: Kept) -> Response:
    return await mizan.respond(request, clients.ProfileContext, username=username)


@router.post("/profiles/{username}/follow", response_model=OfProfile, dependencies=MEMBERS)
async def follow(request: Request, username: str, mizan: Kept) -> Response:
    return await mizan.respond(request, clients.follow, username=username)


@router.delete("/profiles/{username}/follow", response_model=OfProfile, dependencies=MEMBERS)
async def unfollow(request: Request, username: str, mizan: Kept) -> Response:
    return await mizan.respond(request, clients.unfollow, username=username)


# Articles


@router.get("/articles/feed", response_model=Page, dependencies=MEMBERS)
async def feed(request: Request, mizan: Kept, limit: Limit = 20, offset: Offset = 0) -> Response:
    return await mizan.respond(request, clients.feed, limit=limit, offset=offset)


@router.get("/articles", response_model=Page)
async def articles(
    request: Request,
    mizan: Kept,
    tag: str | None = None,
    author: str | None = None,
    favorited: str | None = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> Response:
    return await mizan.respond(
        request, clients.article_list, tag=tag, author=author, favorited=favorited, limit=limit, offset=offset
    )


@router.post("/articles", status_code=201)
async def publish(article: Annotated[Draft, Body(embed=True)], me: CurrentUser, session: Session) -> OfArticle[Shown]:
    created = Article(
        slug=slug_of(article.title),
        title=article.title,
        description=article.description,
        body=article.body,
        author_id=me.id,
        tags=[Tag(name=name) for name in dict.fromkeys(article.tag_list)],
    )
    session.add(created)
    await _commit(session, "title")
    return await queries.article(session, created.slug, me.id)


@router.get("/articles/{slug}", response_model=OfArticle[Shown])
async def article(request: Request, slug: str, mizan: Kept) -> Response:
    return await mizan.respond(request, clients.ArticleContext, slug=slug)


@router.put("/articles/{slug}")
async def revise(
    slug: str, article: Annotated[Revision, Body(embed=True)], me: CurrentUser, session: Session
) -> OfArticle[Shown]:
    found = await queries.owned(session, slug, me)
    changed = article.model_dump(exclude_unset=True)
    names = changed.pop("tag_list", None)
    if names is not None:
        known = {tag.name: tag for tag in found.tags}
        found.tags = [known.get(name) or Tag(name=name) for name in dict.fromkeys(names)]
    if "title" in changed:
        found.slug = slug_of(changed["title"])
    for field, value in changed.items():
        setattr(found, field, value)
    await _commit(session, "title")
    return await queries.article(session, found.slug, me.id)


@router.delete("/articles/{slug}", status_code=204)
async def withdraw(slug: str, me: CurrentUser, session: Session) -> None:
    await session.delete(await queries.owned(session, slug, me))
    await session.commit()


@router.post("/articles/{slug}/favorite", response_model=OfArticle[Shown], dependencies=MEMBERS)
async def favorite(request: Request, slug: str, mizan: Kept) -> Response:
    return await mizan.respond(request, clients.favorite, slug=slug)


@router.delete("/articles/{slug}/favorite", response_model=OfArticle[Shown], dependencies=MEMBERS)
async def unfavorite(request: Request, slug: str, mizan: Kept) -> Response:
    return await mizan.respond(request, clients.unfavorite, slug=slug)


# Comments


@router.get("/articles/{slug}/comments", response_model=OfComments)
async def comments(request: Request, slug: str, mizan: Kept) -> Response:
    return await mizan.respond(request, clients.CommentsContext, slug=slug)


@router.post("/articles/{slug}/comments", status_code=201)
async def remark(
    slug: str, comment: Annotated[Remark, Body(embed=True)], me: CurrentUser, session: Session
) -> OfComment[Said]:
    article_id = await queries.article_id(session, slug)
    created = Comment(body=comment.body, article_id=article_id, author=me)
    session.add(created)
    await session.commit()
    return OfComment(comment=await queries.comment(session, created.id, me.id))


@router.delete("/articles/{slug}/comments/{comment_id}", status_code=204)
async def delete_comment(slug: str, comment_id: int, me: CurrentUser, session: Session) -> None:
    article_id = await queries.article_id(session, slug)
    found = await session.get(Comment, comment_id, with_for_update=True)
    if found is None or found.article_id != article_id:
        raise missing("comment")
    if found.author_id != me.id:
        raise refused(403, "comment", "forbidden")
    await session.delete(found)
    await session.commit()


@router.get("/tags", response_model=OfTags)
async def tags(request: Request, mizan: Kept) -> Response:
    return await mizan.respond(request, clients.TagsContext)


def slug_of(title: str) -> str:
    return re.sub(r"[\W_]+", "-", title.lower()).strip("-") or "article"


async def _check_free(session: Session, username: str | None, email: str | None, me: User | None = None) -> None:
    for field, value in ((User.username, username), (User.email, email)):
        found = None if value is None else await session.scalar(select(User.id).where(field == value))
        if found is not None and (me is None or found != me.id):
            raise refused(409, field.key, _TAKEN)


async def _commit(session: Session, unique: str) -> None:
    """Raises 409 where another request took a unique value first."""
    try:
        await session.commit()
    except IntegrityError:
        await session.rollback()
        raise refused(409, unique, _TAKEN) from None
