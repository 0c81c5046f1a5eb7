// Written by `mizan generate js examples.tracker.app:mizan --runtime /api/mizan/client.js`. Changes will be lost.
/* eslint-disable */

import { createClient } from "/api/mizan/client.js";

export { MizanError } from "/api/mizan/client.js";

const defaults = {
  board: { page: 1 },
};

function contextOf(client, name) {
  return {
    fetch: (params, options) => client.fetch(name, params, options),
    load: (params) => client.load(name, params),
    state: (params) => client.state(name, params),
    subscribe: (params, listener) => client.subscribe(name, params, listener),
    invalidate: (scope) => client.invalidate({ context: name, params: { ...scope } }),
  };
}

export function createMizan(options = {}) {
  const client = createClient({ baseUrl: "/api/mizan", defaults, ...options });
  return {
    client,
    contexts: {
      abilities: contextOf(client, "abilities"),
      board: contextOf(client, "board"),
      issue: contextOf(client, "issue"),
      me: contextOf(client, "me"),
      organisation: contextOf(client, "organisation"),
      people: contextOf(client, "people"),
      projects: contextOf(client, "projects"),
      work: contextOf(client, "work"),
      workload: contextOf(client, "workload"),
    },
    abilities: (args, options) => client.call("abilities", args, options),
    add_comment: (args, options) => client.call("add_comment", args, options),
    archive_project: (args, options) => client.call("archive_project", args, options),
    assign_issue: (args, options) => client.call("assign_issue", args, options),
    board_page: (args, options) => client.call("board_page", args, options),
    close_issues: (args, options) => client.call("close_issues", args, options),
    edit_comment: (args, options) => client.call("edit_comment", args, options),
    issue_comments: (args, options) => client.call("issue_comments", args, options),
    issue_detail: (args, options) => client.call("issue_detail", args, options),
    move_issue: (args, options) => client.call("move_issue", args, options),
    my_issues: (args, options) => client.call("my_issues", args, options),
    organisation: (args, options) => client.call("organisation", args, options),
    people_list: (args, options) => client.call("people_list", args, options),
    project_list: (args, options) => client.call("project_list", args, options),
    rename_issue: (args, options) => client.call("rename_issue", args, options),
    set_status: (args, options) => client.call("set_status", args, options),
    take_issue: (args, options) => client.call("take_issue", args, options),
    whoami: (args, options) => client.call("whoami", args, options),
    workload: (args, options) => client.call("workload", args, options),
  };
}
