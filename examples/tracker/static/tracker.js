// The page: one panel for each bundle on it. A panel is fetched again when a call names what it shows, and only then.

import { call, concerns, fetchBundle, onRequest, post } from "./mizan.js";

const $ = (id) => document.getElementById(id);
const PRIORITIES = ["", "urgent", "high", "normal", "low"];

// What is looked at (from the address: #/p/3/page/2/i/77), and who looks.
let place = {};
let me = null;
let able = new Set();
let people = [];
let projects = [];
let chosen = new Set();
let issue = null;
let editing = null;

// Panels: the bundle each one shows (null while there is nothing to ask for), and how it is drawn.

const panels = {
  people: { params: () => ({}), draw: (bundle) => { people = bundle?.people_list ?? []; drawPeople(); } },
  me: { params: () => ({}), draw: (bundle) => { me = bundle?.whoami ?? null; drawMe(); } },
  abilities: { params: () => ({}), draw: (bundle) => { able = new Set(bundle?.abilities.permissions); drawAble(); } },
  projects: { params: () => ({}), draw: (bundle) => { projects = bundle?.project_list ?? []; drawProjects(); } },
  work: { params: () => me && { person_id: me.person_id }, draw: (bundle) => drawWork(bundle?.my_issues) },
  workload: { params: () => me && {}, draw: (bundle) => drawWorkload(bundle?.workload) },
  board: { params: boardParams, draw: (bundle) => drawBoard(bundle?.board_page) },
  issue: { params: () => place.i && { issue_id: place.i }, draw: (bundle) => drawIssue(bundle) },
};

function boardParams() {
  if (!place.p) return null;
  return place.page && place.page !== "1" ? { project_id: place.p, page: place.page } : { project_id: place.p };
}

async function load(context, because) {
  const panel = panels[context];
  const params = panel.params();
  const asked = (panel.asked = (panel.asked ?? 0) + 1);
  if (!params) {
    panel.shown = null;
    badge(context, "", 0);
    return panel.draw(null);
  }
  try {
    const { answer, cache, ms } = await fetchBundle(context, params, because);
    if (asked !== panel.asked) return; // a later question is under way
    panel.shown = params;
    panel.draw(answer);
    badge(context, cache, ms);
    if (because) flash(context);
  } catch (problem) {
    if (asked !== panel.asked) return;
    if (context === "board" && place.page) return open({ p: place.p, i: place.i }); // the last page has gone
    panel.shown = null;
    panel.draw(null);
    badge(context, "", 0);
    tell(problem);
  }
}

/** Calls a function, and fetches again whatever of the page its answer names. */
async function change(fn, args) {
  try {
    const { stale } = await call(fn, args);
    await refetch(stale, fn);
    return true;
  } catch (problem) {
    tell(problem);
    await refetch(problem.stale ?? [], fn);
    return false;
  }
}

function refetch(stale, fn) {
  const named = Object.keys(panels).filter(
    (context) => panels[context].shown && stale.some((entry) => concerns(entry, context, panels[context].shown)),
  );
  return Promise.all(named.map((context) => load(context, fn)));
}

// Drawing

function drawPeople() {
  const option = (person) => h("option", { value: person.person_id }, `${person.name}, ${person.role}`);
  const assignee = (person) => h("option", { value: person.person_id }, person.name);
  $("person").replaceChildren(...people.map(option));
  $("assignee").replaceChildren(h("option", { value: "" }, "nobody"), ...people.map(assignee));
}

function drawMe() {
  $("who").textContent = me ? `${me.name}, ${me.role}` : "Not signed in";
  $("person").hidden = $("sign-in").hidden = Boolean(me);
  $("sign-out").hidden = !me;
  $("session").classList.add("known");
  if (issue) drawComments();
}

function drawAble() {
  const archived = projects.find((one) => one.project_id === Number(place.p))?.archived;
  const closable = able.has("issue.close") && !archived;
  const editable = able.has("issue.edit") && !archivedProjectOf(issue);
  for (const id of ["title", "status", "assignee", "take"]) $(id).disabled = !editable;
  $("edit").querySelector("button").disabled = !editable;
  $("status").querySelector("[value=closed]").disabled = !able.has("issue.close") && issue?.status !== "closed";
  $("move").disabled = $("move-to").disabled = !able.has("issue.move") || archivedProjectOf(issue);
  $("comment-text").disabled = $("comment-send").disabled = !able.has("comment.write") || archivedProjectOf(issue);
  $("archive").disabled = !able.has("project.archive") || !place.p;
  for (const box of $("board-list").querySelectorAll("input")) box.disabled = !closable;
  drawChosen();
}

function archivedProjectOf(shown) {
  return Boolean(shown && projects.find((one) => one.project_id === shown.project_id)?.archived);
}

function drawProjects() {
  keepingFocus($("project-list"), projects.map((project) =>
    h("li", {},
      h("a", { href: address({ p: project.project_id }), id: `project-${project.project_id}` },
        h("span", { class: "title" }, project.name, project.archived && h("small", {}, " archived")),
        h("span", { class: "quiet count" }, `${project.active} active, ${project.open} open`),
        h("span", { class: "bar", "aria-hidden": "true" }, ...shares(project)))),
  ));
  const targets = projects.filter((project) => !project.archived);
  const kept = $("move-to").value;
  $("move-to").replaceChildren(...targets.map((one) => h("option", { value: one.project_id }, one.name)));
  if (kept) $("move-to").value = kept;
  if (!place.p && !place.i && projects.length) history.replaceState(null, "", address({ p: projects[0].project_id }));
  markCurrent();
  drawArchive();
  drawAble();
}

function shares(project) {
  return ["active", "open", "closed"].map((status) => {
    const part = h("i", { class: status });
    part.style.flexGrow = project[status];
    return part;
  });
}

function drawArchive() {
  const archived = projects.find((one) => one.project_id === Number(place.p))?.archived;
  $("archive").textContent = archived ? "Unarchive" : "Archive";
}

function drawBoard(board) {
  $("board-title").textContent = board ? board.name : "Board";
  for (const id of ["plain-page", "archive", "board-foot"]) $(id).hidden = !board;
  if (!board) return $("board-list").replaceChildren();
  $("plain-page").href = `/p/${board.project_id}/`;
  $("page").textContent = `${board.page} of ${board.pages}`;
  step("previous", board, board.page - 1);
  step("next", board, board.page + 1);
  chosen = new Set(board.issues.map((row) => row.issue_id).filter((id) => chosen.has(id)));
  keepingFocus($("board-list"), board.issues.map(boardRow));
  markCurrent();
  drawArchive();
  drawAble();
}

function boardRow(row) {
  const box = h("input", { type: "checkbox", id: `choose-${row.issue_id}`, "aria-label": `Select ${row.title}` });
  box.checked = chosen.has(row.issue_id);
  box.addEventListener("change", () => {
    chosen[box.checked ? "add" : "delete"](row.issue_id);
    drawChosen();
  });
  return h("li", { class: row.status },
    box,
    h("a", { href: address({ i: row.issue_id }), id: `row-${row.issue_id}` }, row.title),
    h("span", { class: `quiet status ${row.status}` }, row.status),
    h("span", { class: `quiet p${row.priority}` }, PRIORITIES[row.priority]),
    h("span", { class: "quiet" }, row.assignee ?? "nobody"),
    h("span", { class: "quiet comments" }, row.comments === 1 ? "1 comment" : `${row.comments} comments`));
}

function step(id, board, page) {
  const there = page >= 1 && page <= board.pages;
  if (there) $(id).href = address({ p: board.project_id, page });
  else $(id).removeAttribute("href");
}

function drawChosen() {
  $("close-selected").disabled = chosen.size === 0 || !able.has("issue.close");
  $("close-selected").textContent = chosen.size ? `Close ${chosen.size} selected` : "Close selected";
}

function drawIssue(bundle) {
  const before = issue?.issue_id;
  issue = bundle?.issue_detail ?? null;
  $("no-issue").hidden = Boolean(issue);
  $("issue-body").hidden = !issue;
  $("issue-title").textContent = issue ? issue.key : "Issue";
  if (!issue) return;
  $("title").value = issue.title;
  $("status").value = issue.status;
  $("assignee").value = issue.assignee_id ?? "";
  $("move-to").value = issue.project_id;
  $("issue-text").textContent = issue.text;
  $("issue-facts").textContent = `${PRIORITIES[issue.priority]} priority, reported by ${issue.reporter} on ` +
    `${day(issue.created_at)}, changed on ${day(issue.updated_at)}`;
  issue.comments = bundle.issue_comments;
  drawComments();
  if (before !== issue.issue_id) {
    stopEditing();
    $("issue-body").scrollTop = 0;
  }
  if (!place.p) open({ p: issue.project_id, i: issue.issue_id });
  markCurrent();
  drawAble();
}

function drawComments() {
  keepingFocus($("comment-list"), issue.comments.map((comment) => {
    const mine = me && comment.author_id === me.person_id;
    const edit = mine && h("button", { type: "button", class: "link", id: `edit-${comment.comment_id}` }, "Edit");
    if (edit) edit.addEventListener("click", () => startEditing(comment));
    return h("li", {},
      h("p", {}, comment.text),
      h("p", { class: "quiet" }, `${comment.author}, ${day(comment.created_at)}`, comment.edited_at && ", edited", " ", edit));
  }));
}

function startEditing(comment) {
  editing = comment.comment_id;
  $("comment-label").textContent = "Change your comment";
  $("comment-send").textContent = "Save";
  $("comment-cancel").hidden = false;
  $("comment-text").value = comment.text;
  $("comment-text").focus();
}

function stopEditing() {
  editing = null;
  $("comment-label").textContent = "Add a comment";
  $("comment-send").textContent = "Comment";
  $("comment-cancel").hidden = true;
  $("comment-text").value = "";
}

function drawWork(work) {
  $("work-title").textContent = work ? `My work, ${work.total}` : "My work";
  if (!work) return $("work-list").replaceChildren(h("li", { class: "empty" }, "Sign in to see your issues."));
  keepingFocus($("work-list"), work.issues.map((row) =>
    h("li", { class: row.status },
      h("a", { href: address({ i: row.issue_id }), id: `work-${row.issue_id}` }, row.title),
      h("span", { class: "quiet" }, `${row.key}, ${row.status}, ${PRIORITIES[row.priority]}`))));
}

function drawWorkload(rows) {
  if (!rows) return $("workload-list").replaceChildren(h("li", { class: "empty" }, "Sign in to see who does what."));
  const most = Math.max(...rows.map((row) => row.open + row.active));
  $("workload-list").replaceChildren(...rows.map((row) => {
    const bar = h("span", { class: "bar", "aria-hidden": "true" }, ...shares({ ...row, closed: most - row.open - row.active }));
    return h("li", {}, h("span", {}, row.who ?? "nobody"), h("span", { class: "quiet" }, row.open + row.active), bar);
  }));
}

function markCurrent() {
  for (const link of document.querySelectorAll("#project-list a, #board-list a, #work-list a")) {
    const [kind, id] = link.id.split("-");
    const current = kind === "project" ? id === place.p : id === place.i;
    current ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
  }
}

// The log

onRequest(({ method, what, status, cache, ms, stale, because }) => {
  const named = stale.map((entry) => {
    const onPage = Object.keys(panels).some((key) => panels[key].shown && concerns(entry, key, panels[key].shown));
    return h("code", { class: onPage ? "chip seen" : "chip", title: onPage ? "on this page" : "not on this page" }, spell(entry));
  });
  const word = status >= 400 ? String(status) : cache || (method === "POST" ? "call" : "");
  const row = h("li", { class: method === "POST" ? "post" : "get" },
    h("b", { class: status >= 400 ? "failed" : word }, word),
    h("span", { class: "ms" }, `${ms.toFixed(1)} ms`),
    h("code", {}, what),
    because && h("span", { class: "quiet" }, `again, after ${because}`),
    named.length > 0 && h("span", { class: "named" }, "made stale ", ...named));
  $("log-list").append(row);
  while ($("log-list").children.length > 200) $("log-list").firstChild.remove();
  $("log-list").scrollTop = $("log-list").scrollHeight;
});

function spell(entry) {
  if (typeof entry === "string") return entry;
  const target = entry.function ? `${entry.context}/${entry.function}` : entry.context;
  return [target, ...Object.entries(entry.params ?? {}).map(([name, value]) => `${name}=${value}`)].join(";");
}

function badge(context, cache, ms) {
  const shown = document.querySelector(`#${context} .cache`);
  if (!shown) return;
  shown.className = `cache ${cache}`;
  shown.textContent = cache ? `${cache} ${ms.toFixed(1)} ms` : "";
}

function flash(context) {
  const panel = document.querySelector(`#${context}.panel`);
  panel?.classList.remove("refetched");
  void panel?.offsetWidth; // starts the animation again
  panel?.classList.add("refetched");
}

let hiding;
function tell(problem) {
  $("notice").textContent = problem.message;
  $("notice").classList.add("shown");
  clearTimeout(hiding);
  hiding = setTimeout(() => $("notice").classList.remove("shown"), 6000);
}

// What people do

$("session").addEventListener("submit", async (event) => {
  event.preventDefault();
  await post("/sign-in/", { person_id: $("person").value }).catch(tell);
  await identityChanged();
  $("sign-out").focus();
});

$("sign-out").addEventListener("click", async () => {
  await post("/sign-out/", {}).catch(tell);
  await identityChanged();
  $("person").focus();
});

/** Only what depends on who asks is asked for again. */
async function identityChanged() {
  await Promise.all([load("me"), load("abilities")]);
  await Promise.all([load("work"), load("workload")]);
}

$("edit").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { issue_id, title, status, assignee_id } = issue;
  const [newTitle, newStatus] = [$("title").value.trim(), $("status").value];
  const newAssignee = $("assignee").value ? Number($("assignee").value) : null;
  if (newTitle !== title && !(await change("rename_issue", { issue_id, title: newTitle }))) return;
  if (newStatus !== status && !(await change("set_status", { issue_id, status: newStatus }))) return;
  if (newAssignee !== assignee_id) await change("assign_issue", { issue_id, assignee_id: newAssignee });
});

$("take").addEventListener("click", () => change("take_issue", { issue_id: issue.issue_id }));

$("move").addEventListener("click", () =>
  change("move_issue", { issue_id: issue.issue_id, to_project_id: Number($("move-to").value) }));

$("comment").addEventListener("submit", async (event) => {
  event.preventDefault();
  const told = { issue_id: issue.issue_id, text: $("comment-text").value };
  const done = editing ? change("edit_comment", { ...told, comment_id: editing }) : change("add_comment", told);
  if (await done) stopEditing();
});

$("comment-cancel").addEventListener("click", stopEditing);

$("bulk").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await change("close_issues", { issue_ids: [...chosen] })) chosen.clear();
  drawChosen();
});

$("archive").addEventListener("click", () =>
  change("archive_project", { project_id: Number(place.p), archived: $("archive").textContent === "Archive" }));

$("again").addEventListener("click", async () => {
  for (const context of Object.keys(panels)) await load(context);
});

$("fold").addEventListener("click", () => {
  const folded = $("log").classList.toggle("folded");
  $("fold").textContent = folded ? "Show" : "Hide";
  $("fold").setAttribute("aria-expanded", String(!folded));
});

// Addresses

function address(changes) {
  const next = "p" in changes ? changes : { ...place, ...changes };
  const parts = ["p", "page", "i"].filter((name) => next[name]).map((name) => `${name}/${next[name]}`);
  return `#/${parts.join("/")}`;
}

function open(next) {
  history.replaceState(null, "", address(next));
  return go();
}

function readAddress() {
  const pieces = location.hash.split("/").slice(1);
  const read = {};
  for (let at = 0; at + 1 < pieces.length; at += 2) read[pieces[at]] = pieces[at + 1];
  return read;
}

async function go() {
  const before = place;
  place = readAddress();
  if (!place.p && projects.length && !place.i) return open({ p: String(projects[0].project_id) });
  if (place.p && !place.i && before.i) place.i = before.i; // another board leaves the issue where it is
  const moved = before.p !== place.p || before.page !== place.page;
  if (moved) chosen.clear();
  markCurrent();
  if (narrow.matches && before.p !== undefined) {
    const target = before.i !== place.i ? "issue" : "board";
    $(target).scrollIntoView();
  }
  await Promise.all([moved && load("board"), before.i !== place.i && load("issue")]);
}

// Small things

function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replaces a list without taking the focus from whoever is on one of its links. */
function keepingFocus(list, children) {
  const focused = list.contains(document.activeElement) ? document.activeElement.id : null;
  const top = list.scrollTop;
  list.replaceChildren(...children);
  list.scrollTop = top;
  if (focused) (document.getElementById(focused) ?? list.querySelector("a, button"))?.focus();
}

function day(moment) {
  return new Date(moment).toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" });
}

const narrow = matchMedia("(max-width: 64rem)");
addEventListener("hashchange", go);
place = readAddress();
await Promise.all([load("people"), load("projects"), load("me"), load("abilities")]);
place = readAddress();
await Promise.all([load("board"), load("issue"), load("work"), load("workload")]);
