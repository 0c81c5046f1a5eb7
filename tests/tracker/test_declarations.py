"""What the graph says of the example: every narrowing is one that was meant."""

from typer.testing import CliRunner

from mizan_asgi.cli import cli

from .world import GRAPH


def test_nothing_is_left_whole() -> None:
    told = CliRunner().invoke(cli, ["check", "examples.tracker.app:mizan"])
    assert told.exit_code == 0
    assert "mutation archive_project" in told.output
    assert "WHOLE" not in told.output


def test_every_context_is_narrowed_by_its_mutations() -> None:
    shapes = {name: plan.shapes for name, plan in GRAPH.contexts.items() if len(plan.shapes) > 1}
    assert shapes == {
        "projects": ((), ("org_id",)),
        "board": ((), ("project_id",), ("org_id", "project_id")),
        "page": ((), ("project_id",)),
        "issue": ((), ("issue_id",), ("issue_id", "org_id")),
        "work": ((), ("org_id",), ("person_id",), ("org_id", "person_id")),
        "workload": ((), ("org_id",)),
    }


def test_who_asks_is_a_parameter_of_all_but_the_public_page() -> None:
    asked_by = {name: [one.name for one in plan.identity_params] for name, plan in GRAPH.contexts.items()}
    assert asked_by.pop("page") == []
    assert all(asked_by.values())


def test_the_public_page_is_public_and_narrowed() -> None:
    page = GRAPH.contexts["page"]
    assert page.page_policies["project_page"].for_everyone
    assert all(set(shape) <= set(GRAPH.functions["project_page"].inputs) for shape in page.shapes)


def test_private_readers_and_mutations_are_guarded() -> None:
    unguarded = {name for name, one in GRAPH.functions.items() if one.affects and str(one.guard) == "Anyone()"}
    assert unguarded == {"report_issue", "fix_merged"}  # one answers with a page, the other checks a signature
    assert GRAPH.functions["fix_merged"].declaration.private
