// The page: panels, each of which shows one bundle. No line here tells what a change makes stale. Some changes have an
// optimistic form, which the page shows before the server has answered.

import { createMizan } from "./client/mizan.js";
import { concerns, keyOf, onRequest, slowDown, spell } from "./requests.js";

const $ = (id) => document.getElementById(id);
const PRIORITIES = ["", "urgent", "high", "normal", "low"];
const MOST_RECENT = 4;
const mizan = createMizan();

// The place in the address (#/p/3/page/2/i/77), and the issues opened before.
let place = {};
let recent = JSON.parse(sessionStorage.getItem("recent") ?? "[]");
let chosen = new Set();
let editing = null;

/** A part of the page that shows a bundle. `draw` is called with its data, or with undefined if there are none. */
class Panel {
  static all = new Set();
  params = undefined;
  data = undefined;
  end = () => {};

  constructor(element, context, draw) {
    Object.assign(this, { element, context, draw });
    Panel.all.add(this);
  }

  get key() {
    return this.params ? keyOf(this.context, this.params) : null;
  }

  /** Shows the bundle of these parameters; null: none. The old data stay until the new ones arrive. */
  show(params) {
    if (JSON.stringify(params) === JSON.stringify(this.params)) return;
    this.end();
    this.end = () => {};
    this.params = params;
    this.moving = params !== null && this.data !== undefined;
    if (params) this.end = mizan.contexts[this.context].subscribe(params, (state) => this.tell(state));
    else this.tell({ data: undefined, error: undefined, loading: false });
  }

  tell({ data, error, loading }) {
    this.element.setAttribute("aria-busy", String(loading && data === undefined));
    if (loading && data === undefined && this.moving) return;
    this.moving = false;
    const before = this.data;
    this.data = data;
    if (data !== before || data === undefined) this.draw(data);
    this.complain(data === undefined && error);
    if (error && data !== undefined) notify(error);
  }

  complain(error) {
    this.element.querySelector(".error")?.remove();
    if (!error || (this.context === "board" && goToFirstPage())) return;
    if (this.element === nowhere) return notify(error);
    const again = h("button", { type: "button", class: "small" }, "Try again");
    again.addEventListener("click", () => mizan.contexts[this.context].invalidate(this.params));
    this.element.append(h("p", { class: "error", role: "alert" }, `${error.message} `, again));
  }

  close() {
    this.end();
    Panel.all.delete(this);
  }
}

const nowhere = h("div", {});
const organisation = new Panel(nowhere, "organisation", drawOrganisation);
const people = new Panel(nowhere, "people", drawPeople);
const abilities = new Panel(nowhere, "abilities", () => drawAble());
const me = new Panel(nowhere, "me", drawMe);
const projects = new Panel($("projects"), "projects", drawProjects);
const work = new Panel($("work"), "work", drawWork);
const workload = new Panel($("workload"), "workload", drawWorkload);
const board = new Panel($("board"), "board", drawBoard);
const issue = new Panel($("issue"), "issue", drawIssue);
const cards = new Map(); // by issue id, for recently opened issues: they show the same bundles as the issue's panel

const myself = () => me.data?.whoami ?? null;
const detail = () => issue.data?.issue_detail ?? null;
const able = (permission) => Boolean(abilities.data?.abilities.permissions.includes(permission));
const project = (id) => projects.data?.project_list.find((one) => one.project_id === id);

// Changes. `optimistic` shows their result at once; it is dropped when the server's own data arrive.

async function change(name, args, optimistic = []) {
  const touched = optimistic.filter(Boolean);
  const keys = new Set(touched.map(({ context, params }) => keyOf(context, params)));
  const panels = [...Panel.all].filter((panel) => keys.has(panel.key));
  for (const panel of panels) say(panel, "saving", "saving…");
  try {
    return await mizan[name](args, { optimistic: touched });
  } catch (error) {
    notify(error);
    for (const panel of panels) say(panel, "", "");
    return undefined;
  }
}

/** The optimistic change of an issue, in every bundle that shows it. */
function edited(now, next) {
  return [
    onIssue(now.issue_id, (data) => ({ ...data, issue_detail: { ...data.issue_detail, ...next } })),
    board.data?.board_page.project_id === now.project_id && onBoard((rows) => changed(rows, now.issue_id, next)),
    work.params && myself()?.person_id === now.assignee_id && onMyWork((rows) => changed(rows, now.issue_id, next)),
  ];
}

/** The rows, with the fields that one issue's row has replaced by new values. */
function changed(rows, issueId, next) {
  return rows.map((row) => {
    if (row.issue_id !== issueId) return row;
    return { ...row, ...Object.fromEntries(Object.entries(next).filter(([name]) => name in row)) };
  });
}

/** The optimistic change of a project. Fetched data may contain it already: values are set, never counted up. */
function projectEdited(projectId, next) {
  const of = (list) => list.map((one) => (one.project_id === projectId ? { ...one, ...next } : one));
  return { context: "projects", params: {}, update: (data) => ({ ...data, project_list: of(data.project_list) }) };
}

/** The optimistic change of a project's counts after an issue changed its status. */
function recounted(projectId, from, to) {
  const now = project(projectId);
  return now && from !== to && projectEdited(projectId, { [from]: now[from] - 1, [to]: now[to] + 1 });
}

/** The optimistic change of an issue's comments, and of their number on the board. */
function commented(now, comments, count) {
  const row = board.data?.board_page.issues.find((one) => one.issue_id === now.issue_id);
  return [
    onIssue(now.issue_id, (data) => ({ ...data, issue_comments: comments(data.issue_comments) })),
    row && count !== row.comments && onBoard((rows) => changed(rows, now.issue_id, { comments: count })),
  ];
}

function onIssue(issue_id, update) {
  return { context: "issue", params: { issue_id }, update };
}

function onBoard(update) {
  const rows = (page) => ({ ...page, issues: update(page.issues) });
  return { context: "board", params: board.params, update: (data) => ({ ...data, board_page: rows(data.board_page) }) };
}

function onMyWork(update) {
  const rows = (list) => ({ ...list, issues: update(list.issues) });
  return { context: "work", params: work.params, update: (data) => ({ ...data, my_issues: rows(data.my_issues) }) };
}

// User actions

$("session").addEventListener("submit", async (event) => {
  event.preventDefault();
  await become("/sign-in/", { person_id: $("person").value });
});

$("sign-out").addEventListener("click", () => become("/sign-out/", {}));

/** Signs in or out, at the host. All bundles known before are then forgotten, in other tabs too. */
async function become(url, fields) {
  await fetch(url, { method: "POST", body: new URLSearchParams(fields), redirect: "manual" }).catch(notify);
  mizan.client.identify();
}

$("title").addEventListener("change", () => {
  const now = detail();
  const title = $("title").value.replace(/\s+/g, " ").trim();
  if (!$("edit").reportValidity() || title === now.title) return;
  change("rename_issue", { issue_id: now.issue_id, title }, edited(now, { title }));
});

$("title").addEventListener("keydown", (event) => {
  if (event.key !== "Escape" && event.key !== "Enter") return;
  event.preventDefault();
  if (event.key === "Escape") $("title").value = detail().title;
  $("title").blur();
});

$("status").addEventListener("change", (event) => {
  const now = detail();
  const status = event.target.value;
  const looks = [...edited(now, { status }), recounted(now.project_id, now.status, status)];
  change("set_status", { issue_id: now.issue_id, status }, looks);
});

$("assignee").addEventListener("change", () => {
  const now = detail();
  const assignee_id = $("assignee").value ? Number($("assignee").value) : null;
  const assignee = people.data.people_list.find((one) => one.person_id === assignee_id)?.name ?? null;
  change("assign_issue", { issue_id: now.issue_id, assignee_id }, edited(now, { assignee_id, assignee }));
});

$("take").addEventListener("click", () => {
  const now = detail();
  const looks = edited(now, { assignee_id: myself().person_id, assignee: myself().name });
  change("take_issue", { issue_id: now.issue_id }, looks);
});

$("move-to").addEventListener("change", async () => {
  const now = detail();
  await change("move_issue", { issue_id: now.issue_id, to_project_id: Number($("move-to").value) });
  drawIssue(issue.data);
});

$("comment").addEventListener("submit", (event) => {
  event.preventDefault();
  const now = detail();
  const text = $("comment-text").value.trim();
  if (!text) return;
  const comment_id = editing;
  stopEditing();
  const before = issue.data.issue_comments;
  if (comment_id) {
    const next = (list) => list.map((one) => (one.comment_id === comment_id ? { ...one, text } : one));
    change("edit_comment", { issue_id: now.issue_id, comment_id, text }, commented(now, next, before.length));
  } else {
    const { person_id: author_id, name: author } = myself();
    const mine = { comment_id: 0, author_id, author, text, created_at: new Date(), edited_at: null };
    const known = new Set(before.map((one) => one.comment_id));
    const there = (one) => one.author_id === author_id && one.text === text && !known.has(one.comment_id);
    const next = (list) => (list.some(there) ? list : [...list, mine]);
    change("add_comment", { issue_id: now.issue_id, text }, commented(now, next, before.length + 1));
  }
});

$("comment-text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) $("comment").requestSubmit();
  if (event.key === "Escape") stopEditing();
});

$("comment-cancel").addEventListener("click", stopEditing);

$("bulk").addEventListener("submit", (event) => {
  event.preventDefault();
  const issue_ids = [...chosen];
  chosen.clear();
  const closing = (rows) => issue_ids.reduce((list, id) => changed(list, id, { status: "closed" }), rows);
  change("close_issues", { issue_ids }, [onBoard(closing)]);
});

$("archive").addEventListener("click", () => {
  const { project_id, archived } = project(Number(place.p));
  change("archive_project", { project_id, archived: !archived }, [projectEdited(project_id, { archived: !archived })]);
});

$("slow").addEventListener("change", () => slowDown($("slow").checked ? 1000 : 0));

$("again").addEventListener("click", () => mizan.client.invalidate(...Object.keys(mizan.contexts)));

$("fold").addEventListener("click", () => fold(!$("log").classList.contains("folded")));

/** Moves the focus in lists by the arrow keys. */
document.addEventListener("keydown", (event) => {
  const list = event.target.closest?.(".list");
  if (!list || !["ArrowDown", "ArrowUp"].includes(event.key) || event.target.matches("select")) return;
  event.preventDefault();
  const links = [...list.querySelectorAll("a")];
  const at = links.findIndex((link) => link.closest("li") === event.target.closest("li"));
  links[at + (event.key === "ArrowDown" ? 1 : -1)]?.focus();
});

// Drawing

/** The name of this host's organisation, and a way to the other one, which is at the same port of another host name. */
function drawOrganisation(bundle) {
  const there = location.hostname.startsWith("kestrel.") ? "localhost" : "kestrel.localhost";
  $("organisation").textContent = bundle?.organisation.name ?? "";
  $("elsewhere").href = `//${there}:${location.port}/`;
}

function drawPeople(bundle) {
  const everybody = bundle?.people_list ?? [];
  $("person").replaceChildren(...everybody.map((one) => h("option", { value: one.person_id }, `${one.name}, ${one.role}`)));
  $("assignee").replaceChildren(
    h("option", { value: "" }, "nobody"),
    ...everybody.map((one) => h("option", { value: one.person_id }, one.name)),
  );
  if (issue.data) drawIssue(issue.data);
}

function drawMe(bundle) {
  const who = myself();
  work.show(who && {});
  workload.show(who && {});
  $("session").classList.toggle("known", bundle !== undefined);
  $("who").replaceChildren(...(who ? [avatar(who.name), h("span", {}, `${who.name}, ${who.role}`)] : ["Be somebody"]));
  $("person").hidden = $("sign-in").hidden = Boolean(who);
  $("sign-out").hidden = !who;
  if (issue.data) drawComments();
  drawAble();
}

function drawAble() {
  const now = detail();
  const open = now && !project(now.project_id)?.archived;
  const editable = able("issue.edit") && open;
  for (const id of ["title", "assignee"]) $(id).disabled = !editable;
  $("take").disabled = !editable || now?.assignee_id === myself()?.person_id;
  for (const one of $("status").querySelectorAll("input")) {
    one.disabled = !editable || (one.value === "closed" && !able("issue.close") && now?.status !== "closed");
  }
  $("move-to").disabled = !able("issue.move") || !open;
  $("comment-text").disabled = $("comment-send").disabled = !able("comment.write") || !open;
  $("comment").querySelector(".hint").textContent = hint(open);
  $("archive").disabled = !able("project.archive") || !place.p;
  const closable = able("issue.close") && !project(Number(place.p))?.archived;
  for (const box of $("board-list").querySelectorAll("input")) box.disabled = !closable;
  drawChosen();
}

function hint(open) {
  if (!open) return "This project is archived.";
  return able("comment.write") ? "" : "Sign in to comment.";
}

function drawProjects(bundle) {
  if (!bundle) return draft($("project-list"), 7);
  keepingFocus($("project-list"), bundle.project_list.map((one) =>
    h("li", {},
      h("a", { href: address({ p: one.project_id }), id: `project-${one.project_id}` },
        h("span", { class: "title" }, one.name, one.archived && h("small", { class: "quiet" }, " archived")),
        h("span", { class: "quiet count" }, `${one.active} active, ${one.open} open`),
        h("span", { class: "bar", "aria-hidden": "true" }, ...shares(one)))),
  ));
  if (!place.p && !place.i) open({ p: String(bundle.project_list[0].project_id) });
  drawTargets();
  drawArchive();
  markCurrent();
  drawAble();
}

function drawTargets() {
  const targets = (projects.data?.project_list ?? []).filter((one) => !one.archived || one.project_id === detail()?.project_id);
  $("move-to").replaceChildren(...targets.map((one) => h("option", { value: one.project_id }, one.name)));
  $("move-to").value = detail()?.project_id ?? "";
}

function shares(counts) {
  return ["active", "open", "closed"].map((status) => {
    const part = h("i", { class: status });
    part.style.flexGrow = counts[status];
    return part;
  });
}

function drawArchive() {
  $("archive").textContent = project(Number(place.p))?.archived ? "Unarchive" : "Archive";
}

function drawBoard(bundle) {
  const shown = bundle?.board_page;
  for (const id of ["archive", "board-foot"]) $(id).hidden = !shown;
  $("plain-page").hidden = !shown?.public;
  if (!shown) return draft($("board-list"), 9);
  $("board-title").textContent = shown.name;
  $("plain-page").href = `/p/${shown.project_id}/`;
  $("page").textContent = `${shown.page} of ${shown.pages}`;
  step("previous", shown, shown.page - 1);
  step("next", shown, shown.page + 1);
  chosen = new Set(shown.issues.map((row) => row.issue_id).filter((id) => chosen.has(id)));
  keepingFocus($("board-list"), shown.issues.map((row) => boardRow(shown, row)));
  if (!shown.issues.length) emptied($("board-list"), "Nothing has been reported here.");
  if (!place.i && !narrow.matches && shown.issues.length) open({ ...place, i: String(shown.issues[0].issue_id) });
  drawArchive();
  markCurrent();
  drawAble();
}

function boardRow(shown, row) {
  const box = h("input", { type: "checkbox", id: `choose-${row.issue_id}`, "aria-label": `Select ${row.title}` });
  box.checked = chosen.has(row.issue_id);
  box.addEventListener("change", () => {
    chosen[box.checked ? "add" : "delete"](row.issue_id);
    drawChosen();
  });
  return h("li", { class: row.status },
    box,
    h("a", { href: address({ i: row.issue_id }), id: `row-${row.issue_id}` }, row.title),
    h("span", { class: "about quiet" },
      h("span", { class: `status ${row.status}` }, row.status),
      h("span", { class: `priority p${row.priority}` }, PRIORITIES[row.priority]),
      h("span", {}, `${shown.key}-${row.issue_id}`),
      row.comments > 0 && h("span", {}, plural(row.comments, "comment"))),
    avatar(row.assignee));
}

function step(id, shown, page) {
  const there = page >= 1 && page <= shown.pages;
  if (there) $(id).href = address({ p: shown.project_id, page, i: place.i });
  else $(id).removeAttribute("href");
}

function drawChosen() {
  $("close-selected").disabled = chosen.size === 0 || !able("issue.close");
  $("close-selected").textContent = chosen.size ? `Close ${chosen.size} selected` : "Close selected";
}

function drawIssue(bundle) {
  const now = bundle?.issue_detail;
  $("no-issue").hidden = Boolean(now) || Boolean(place.i);
  $("issue-body").hidden = !now;
  $("issue-title").textContent = now ? now.key : "Issue";
  if (!now) return;
  const other = issue.drawn !== now.issue_id;
  issue.drawn = now.issue_id;
  if (other || document.activeElement !== $("title")) $("title").value = now.title; // not while the user types
  for (const one of $("status").querySelectorAll("input")) one.checked = one.value === now.status;
  $("assignee").value = now.assignee_id ?? "";
  $("issue-text").textContent = now.text;
  $("issue-facts").textContent = `${capital(PRIORITIES[now.priority])} priority. Reported by ${now.reporter} on ` +
    `${day(now.created_at)}, changed on ${day(now.updated_at)}.`;
  drawTargets();
  drawComments();
  if (other) {
    stopEditing();
    $("issue-body").scrollTop = 0;
    remember(now.issue_id);
  }
  if (!place.p) open({ p: String(now.project_id), i: String(now.issue_id) });
  markCurrent();
  drawAble();
}

function drawComments() {
  const comments = issue.data.issue_comments;
  $("comments-title").textContent = comments.length ? plural(comments.length, "comment") : "No comments yet";
  keepingFocus($("comment-list"), comments.map((comment) => {
    const mine = comment.comment_id > 0 && comment.author_id === myself()?.person_id;
    const edit = mine && h("button", { type: "button", class: "link", id: `edit-${comment.comment_id}` }, "Edit");
    if (edit) edit.addEventListener("click", () => startEditing(comment));
    return h("li", {},
      avatar(comment.author),
      h("p", { class: "quiet" }, `${comment.author}, ${day(comment.created_at)}`, comment.edited_at && ", edited", " ", edit),
      h("p", {}, comment.text));
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

function drawWork(bundle) {
  const list = bundle?.my_issues;
  $("work-title").textContent = list ? `My work, ${list.total}` : "My work";
  if (!list && !work.params) return emptied($("work-list"), "Sign in to see your issues.");
  if (!list) return draft($("work-list"), 5);
  if (!list.issues.length) return emptied($("work-list"), "Nothing to do. Enjoy.");
  keepingFocus($("work-list"), list.issues.map((row) =>
    h("li", {},
      h("a", { href: address({ i: row.issue_id }), id: `work-${row.issue_id}` }, row.title),
      h("span", { class: "about quiet" },
        h("span", { class: `status ${row.status}` }, row.status),
        h("span", { class: `priority p${row.priority}` }, PRIORITIES[row.priority]),
        h("span", {}, row.key)))));
  markCurrent();
}

function drawWorkload(bundle) {
  const rows = bundle?.workload;
  if (!rows && !workload.params) return emptied($("workload-list"), "Sign in to see who does what.");
  if (!rows) return draft($("workload-list"), 4);
  const most = Math.max(...rows.map((row) => row.open + row.active));
  $("workload-list").replaceChildren(...rows.map((row) => {
    const bar = h("span", { class: "bar", "aria-hidden": "true" }, ...shares({ ...row, closed: most - row.open - row.active }));
    return h("li", {}, h("span", {}, row.who ?? "nobody"), h("span", { class: "quiet count" }, row.open + row.active), bar);
  }));
}

/** A card for each recently opened issue. It shows the same bundle as the issue's panel. */
function drawRecent() {
  for (const [id, card] of cards) {
    if (recent.includes(id)) continue;
    card.close();
    cards.delete(id);
  }
  for (const id of recent) {
    if (cards.has(id)) continue;
    const card = new Panel(h("li", {}), "issue", (bundle) => drawCard(card, bundle));
    cards.set(id, card);
    card.show({ issue_id: id });
  }
  keepingFocus($("recent-list"), recent.map((id) => cards.get(id).element));
  if (!recent.length) emptied($("recent-list"), "Open an issue, and it is here as well.");
  markCurrent();
}

function drawCard(card, bundle) {
  const now = bundle?.issue_detail;
  if (!now) return card.element.replaceChildren(h("span", { class: "draft" }));
  const focused = card.element.contains(document.activeElement);
  card.element.replaceChildren(
    h("a", { href: address({ i: now.issue_id }), id: `recent-${now.issue_id}` }, now.title),
    h("span", { class: "about quiet" },
      h("span", { class: `status ${now.status}` }, now.status),
      h("span", {}, now.key),
      bundle.issue_comments.length > 0 && h("span", {}, plural(bundle.issue_comments.length, "comment"))),
    avatar(now.assignee));
  if (focused) card.element.querySelector("a").focus();
  markCurrent();
}

function remember(id) {
  if (recent.includes(id)) return;
  recent = [id, ...recent].slice(0, MOST_RECENT);
  sessionStorage.setItem("recent", JSON.stringify(recent));
  drawRecent();
}

function markCurrent() {
  for (const link of document.querySelectorAll(".list a")) {
    const [kind, id] = link.id.split("-");
    const current = kind === "project" ? id === place.p : id === place.i;
    current ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
  }
}

// The log of requests, from `requests.js`

let lastCall = null;

onRequest((request) => {
  if (request.method === "POST") lastCall = logCall(request);
  else logFetch(request, lastCall?.stale.some((entry) => concerns(entry, request.what)) ? lastCall : null);
  while ($("log-list").children.length > 200) $("log-list").firstChild.remove();
  $("log-list").scrollTop = $("log-list").scrollHeight;
});

function logCall(request) {
  const { what, status, ms, stale, mounted, refreshed } = request;
  const failed = status >= 400;
  const call = { what, stale, mounted, refreshed, fetched: 0, summary: h("span", { class: "summary" }) };
  const chips = stale.map((entry) => {
    const shown = mounted.some((key) => concerns(entry, key));
    return h("code", { class: shown ? "chip seen" : "chip", title: shown ? "on this page" : "not on this page" }, spell(entry));
  });
  $("log-list").append(
    h("li", { class: "post" },
      h("b", { class: failed ? "failed" : "call" }, failed ? status : "call"),
      h("span", { class: "ms" }, milliseconds(ms)),
      h("code", {}, what),
      chips.length > 0 && h("span", { class: "named" }, "stale: ", ...chips),
      call.summary));
  summarise(call);
  for (const panel of Panel.all) {
    if (!refreshed.includes(panel.key)) continue;
    say(panel, "came", `with ${what}`);
    flash(panel);
  }
  return call;
}

function summarise({ stale, mounted, refreshed, fetched, summary }) {
  if (!stale.length) return;
  const rest = mounted.length - refreshed.length - fetched;
  const parts = [`${refreshed.length} of ${plural(mounted.length, "bundle")} on this page came with the answer`];
  parts.push(fetched ? `${fetched} fetched` : "nothing else was fetched");
  if (rest > 0) parts.push(`${rest} left alone`);
  summary.textContent = parts.join(", ");
}

function logFetch({ what, status, ms, cache }, call) {
  const failed = status >= 400;
  const word = failed ? String(status) : cache;
  $("log-list").append(
    h("li", { class: "get" },
      h("b", { class: failed ? "failed" : word }, word),
      h("span", { class: "ms" }, milliseconds(ms)),
      h("code", {}, what)));
  if (call) {
    call.fetched += 1;
    summarise(call);
  }
  for (const panel of Panel.all) {
    if (panel.key !== what) continue;
    say(panel, failed ? "failed" : word, `${word} ${milliseconds(ms)}`);
    if (call) flash(panel);
  }
}

/** Shows on a panel's badge where its data came from. */
function say(panel, kind, text) {
  const badge = panel.element.querySelector(":scope > header .from");
  if (badge) Object.assign(badge, { className: `from ${kind}`, textContent: text });
}

function flash({ element }) {
  element.classList.remove("refreshed");
  void element.offsetWidth; // starts the animation again
  element.classList.add("refreshed");
}

let hiding;
function notify(error) {
  $("notice").textContent = error.errors?.map((one) => one.msg).join(". ") || error.message;
  $("notice").classList.add("shown");
  clearTimeout(hiding);
  hiding = setTimeout(() => $("notice").classList.remove("shown"), 6000);
}

function fold(folded) {
  $("log").classList.toggle("folded", folded);
  $("fold").textContent = folded ? "Show" : "Hide";
  $("fold").setAttribute("aria-expanded", String(!folded));
}

// Addresses

function address(changes) {
  const next = "p" in changes ? { i: place.i, ...changes } : { ...place, ...changes };
  const parts = ["p", "page", "i"].filter((name) => next[name]).map((name) => `${name}/${next[name]}`);
  return `#/${parts.join("/")}`;
}

function open(next) {
  history.replaceState(null, "", address(next));
  go();
}

/** The last page of a board disappears with its last issue: then the first one is shown. */
function goToFirstPage() {
  if (!place.page) return false;
  open({ p: place.p, i: place.i });
  return true;
}

function readAddress() {
  const pieces = location.hash.split("/").slice(1);
  const read = {};
  for (let at = 0; at + 1 < pieces.length; at += 2) read[pieces[at]] = pieces[at + 1];
  return read;
}

function go() {
  const before = place;
  place = readAddress();
  if (!place.p && !place.i && projects.data) return open({ p: String(projects.data.project_list[0].project_id) });
  if (before.p !== place.p || before.page !== place.page) chosen.clear();
  board.show(place.p ? { project_id: Number(place.p), ...(place.page > 1 && { page: Number(place.page) }) } : null);
  issue.show(place.i ? { issue_id: Number(place.i) } : null);
  if (before.p !== place.p) $("board-list").scrollTop = 0;
  markCurrent();
  if (narrow.matches && before.p !== undefined) $(before.i !== place.i ? "issue" : "board").scrollIntoView();
}

// Small things

function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function emptied(list, why) {
  list.replaceChildren(h("li", { class: "empty" }, why));
}

/** The placeholder of a list without data. */
function draft(list, rows) {
  list.replaceChildren(...Array.from({ length: rows }, () => h("li", { class: "draft", "aria-hidden": "true" })));
}

/** A person's initials, always in the same colour. */
function avatar(name) {
  const initials = (name ?? "–").split(" ").map((part) => part[0]).join("").slice(0, 2);
  const hue = [...(name ?? "")].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  const title = name ?? "nobody";
  const circle = h("span", { class: name ? "avatar" : "avatar nobody", title, role: "img", "aria-label": title }, initials);
  circle.style.setProperty("--hue", hue);
  return circle;
}

/** Replaces a list. A link in it that has the focus keeps it. */
function keepingFocus(list, children) {
  const focused = list.contains(document.activeElement) ? document.activeElement.id : null;
  const top = list.scrollTop;
  list.replaceChildren(...children);
  list.scrollTop = top;
  if (focused) (document.getElementById(focused) ?? list.querySelector("a, button"))?.focus();
}

function plural(count, what) {
  return count === 1 ? `1 ${what}` : `${count} ${what}s`;
}

function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}

function milliseconds(ms) {
  return `${ms.toFixed(1)} ms`;
}

function day(moment) {
  return new Date(moment).toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" });
}

const narrow = matchMedia("(max-width: 64rem)");
addEventListener("hashchange", go);
fold(narrow.matches);
for (const panel of [organisation, people, me, abilities, projects]) panel.show({});
go();
drawRecent();
