"""Passwords, tokens, and the caller: for FastAPI's routes by `Depends`, for Mizan by `authenticate`."""

import asyncio
import hashlib
import hmac
import secrets
from typing import Annotated

import jwt
from fastapi import Depends, Request

from mizan_core import Identity

from . import settings
from .database import Session
from .errors import refused
from .models import User
from .schemas import Account, OfUser

_ALGORITHM = "HS256"


async def hashed(password: str, salt: bytes | None = None) -> str:
    salt = salt or secrets.token_bytes(16)
    key = await asyncio.to_thread(hashlib.scrypt, password.encode(), salt=salt, n=2**13, r=8, p=1)
    return f"{salt.hex()}:{key.hex()}"


async def matches(password: str, stored: str) -> bool:
    salt = bytes.fromhex(stored.partition(":")[0])
    return hmac.compare_digest(await hashed(password, salt), stored)


def told_to(user: User) -> OfUser[Account]:
    """The account as its owner sees it, with a token."""
    token = jwt.encode({"sub": str(user.id)}, settings.secret(), _ALGORITHM)
    account = Account(email=user.email, token=token, username=user.username, bio=user.bio, image=user.image)
    return OfUser(user=account)


def _id_of_caller(request: Request) -> str | None:
    """The user id in `Authorization: Token ...`; None without the header. Raises 401 for a token that is not valid."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "token":
        return None
    try:
        return str(jwt.decode(token.strip(), settings.secret(), [_ALGORITHM])["sub"])
    except jwt.InvalidTokenError:
        raise refused(401, "token", "is not valid") from None


def authenticate(request: Request) -> Identity | None:
    """The caller as Mizan sees it."""
    user_id = _id_of_caller(request)
    return None if user_id is None else Identity(user_id)


async def current_user(request: Request, session: Session) -> User:
    """The caller as routes see it. Raises 401 for a visitor, and for a user that is there no more."""
    user_id = _id_of_caller(request)
    user = None if user_id is None else await session.get(User, int(user_id))
    if user is None:
        raise refused(401, "token", "is missing" if user_id is None else "is not valid")
    return user


def signed_in(request: Request) -> None:
    """Refuse visitors, without a look at the database."""
    if _id_of_caller(request) is None:
        raise refused(401, "token", "is missing")


MEMBERS = [Depends(signed_in)]
CurrentUser = Annotated[User, Depends(current_user)]
