"""sqladmin at `/admin`, where `CONDUIT_ADMIN_PASSWORD` is set. It commits by the application's sessions."""

import hmac
from typing import Any, ClassVar

from fastapi import FastAPI, Request
from sqladmin import Admin, ModelView
from sqladmin.authentication import AuthenticationBackend

from . import settings
from .database import Sessions
from .models import Article, Comment, Tag, User


class _Password(AuthenticationBackend):
    def __init__(self, password: str) -> None:
        super().__init__(secret_key=settings.secret())
        self._password = password

    async def login(self, request: Request) -> bool:
        given = (await request.form()).get("password")
        known = isinstance(given, str) and hmac.compare_digest(given.encode(), self._password.encode())
        request.session["admin"] = known
        return known

    async def logout(self, request: Request) -> bool:
        request.session.clear()
        return True

    async def authenticate(self, request: Request) -> bool:
        return bool(request.session.get("admin"))


class UserAdmin(ModelView, model=User):
    column_list: ClassVar[Any] = [User.id, User.username, User.email]
    form_columns: ClassVar[Any] = [User.username, User.email, User.bio, User.image]
    can_create = False  # an account has a password


class ArticleAdmin(ModelView, model=Article):
    column_list: ClassVar[Any] = [Article.id, Article.slug, Article.title]
    form_columns: ClassVar[Any] = [Article.title, Article.description, Article.body]
    can_create = False


class TagAdmin(ModelView, model=Tag):
    column_list: ClassVar[Any] = [Tag.article_id, Tag.name]
    can_create = can_edit = False


class CommentAdmin(ModelView, model=Comment):
    column_list: ClassVar[Any] = [Comment.id, Comment.body]
    form_columns: ClassVar[Any] = [Comment.body]
    can_create = False


def add_to(app: FastAPI, sessions: Sessions, password: str) -> None:
    admin = Admin(app, session_maker=sessions, authentication_backend=_Password(password))
    for view in (UserAdmin, ArticleAdmin, TagAdmin, CommentAdmin):
        admin.add_view(view)
