// Written by `mizan generate js examples.tracker.app:mizan --runtime /api/mizan/client.js`. Changes will be lost.
/* eslint-disable */

import type { CallOptions, Client, ClientOptions, ParamsOf, State } from "./client.js";

export { MizanError } from "./client.js";
export type { CallOptions, Client, ClientOptions, Invalidation, State } from "./client.js";

/** All functions and contexts of the server. */
export interface Mizan {
  /** The client of the runtime, which takes the names of functions and contexts as arguments. */
  readonly client: Client<Contexts, Functions>;
  readonly contexts: {
    readonly abilities: ContextClient<Nothing, AbilitiesBundle>;
    readonly board: ContextClient<BoardParams, BoardBundle>;
    readonly issue: ContextClient<IssueParams, IssueBundle>;
    readonly me: ContextClient<Nothing, MeBundle>;
    readonly organisation: ContextClient<Nothing, OrganisationBundle>;
    readonly people: ContextClient<Nothing, PeopleBundle>;
    readonly projects: ContextClient<Nothing, ProjectsBundle>;
    readonly work: ContextClient<Nothing, WorkBundle>;
    readonly workload: ContextClient<Nothing, WorkloadBundle>;
  };
  /** The permissions of the caller's role, so that a page can hide what would be refused: one answer for each role. */
  abilities(args?: Nothing, options?: CallOptions<Contexts>): Promise<Abilities>;
  /** Affects the board, which counts comments, and of the issue only the comments. */
  add_comment(args: AddCommentArgs, options?: CallOptions<Contexts>): Promise<CommentAdded>;
  /** Removes a project's issues from all lists. Nearly every person has some, so all lists of the organisation go. */
  archive_project(args: ArchiveProjectArgs, options?: CallOptions<Contexts>): Promise<ProjectSummary>;
  /** The lists of the old and the new assignee change. The body names them: a binding cannot skip None. */
  assign_issue(args: AssignIssueArgs, options?: CallOptions<Contexts>): Promise<IssueChanged>;
  /** A page of a project's issues. Mutations narrow by the project alone: a change may move issues on all pages. */
  board_page(args: BoardPageArgs, options?: CallOptions<Contexts>): Promise<BoardPage>;
  /** Closes all of them or none. A list narrows to one scope for each member; beyond 64, to the whole context. */
  close_issues(args: CloseIssuesArgs, options?: CallOptions<Contexts>): Promise<IssuesClosed>;
  /** Takes the issue in order to narrow by it. It has to be the comment's own, or the wrong issue would be purged. */
  edit_comment(args: EditCommentArgs, options?: CallOptions<Contexts>): Promise<IssueComment>;
  issue_comments(args: IssueCommentsArgs, options?: CallOptions<Contexts>): Promise<IssueComment[]>;
  issue_detail(args: IssueDetailArgs, options?: CallOptions<Contexts>): Promise<IssueDetail>;
  /** Two boards change, and the assignee's list: it shows the issue's key, which begins with the project's key. */
  move_issue(args: MoveIssueArgs, options?: CallOptions<Contexts>): Promise<IssueChanged>;
  /** The caller's open issues. A visitor has no list: 401. A mutation narrows by the person or the organisation. */
  my_issues(args?: Nothing, options?: CallOptions<Contexts>): Promise<WorkList>;
  organisation(args?: Nothing, options?: CallOptions<Contexts>): Promise<OrganisationCard>;
  /** All people, by name. */
  people_list(args?: Nothing, options?: CallOptions<Contexts>): Promise<PersonCard[]>;
  /** All projects with their counts. Every change of a status makes it stale, so it is one small query. */
  project_list(args?: Nothing, options?: CallOptions<Contexts>): Promise<ProjectSummary[]>;
  /** Does not affect `projects` and `workload`, which show counts and no titles. */
  rename_issue(args: RenameIssueArgs, options?: CallOptions<Contexts>): Promise<IssueChanged>;
  set_status(args: SetStatusArgs, options?: CallOptions<Contexts>): Promise<IssueChanged>;
  /** Moves the issue to the caller's list, from the list of the old assignee. */
  take_issue(args: TakeIssueArgs, options?: CallOptions<Contexts>): Promise<IssueChanged>;
  /** The person who is signed in; None for all visitors, who share that answer. */
  whoami(args?: Nothing, options?: CallOptions<Contexts>): Promise<PersonCard | null>;
  /** The numbers of open issues, by person; by role for callers without the permission `people.workload`. */
  workload(args?: Nothing, options?: CallOptions<Contexts>): Promise<WorkloadRow[]>;
}

/** A context: fetch its bundle once, or show it as long as there are listeners. */
export interface ContextClient<Params extends object, Bundle> {
  /** The bundle from the server, by its canonical URL. Rejects with a `MizanError`. */
  fetch(...args: [...params: ParamsOf<Params>, options?: { signal?: AbortSignal }]): Promise<Bundle>;
  /** The known bundle; from the server if it is unknown or out of date. */
  load(...params: ParamsOf<Params>): Promise<Bundle>;
  /** The known bundle, without fetching it. */
  state(...params: ParamsOf<Params>): State<Bundle>;
  /** Show the bundle: the listener is called at once and after each change. Returns a function that ends it. */
  subscribe(params: Params, listener: (state: State<Bundle>) => void): () => void;
  /** After a change elsewhere: forget the bundles of these parameters, or all, and fetch the shown ones again. */
  invalidate(scope?: Partial<Params>): void;
}

/** The parameters and the bundle of each context. */
export type Contexts = {
  abilities: { params: Nothing; data: AbilitiesBundle };
  board: { params: BoardParams; data: BoardBundle };
  issue: { params: IssueParams; data: IssueBundle };
  me: { params: Nothing; data: MeBundle };
  organisation: { params: Nothing; data: OrganisationBundle };
  people: { params: Nothing; data: PeopleBundle };
  projects: { params: Nothing; data: ProjectsBundle };
  work: { params: Nothing; data: WorkBundle };
  workload: { params: Nothing; data: WorkloadBundle };
};

/** The arguments and the result of each function. */
export type Functions = {
  abilities: { args: Nothing; result: Abilities };
  add_comment: { args: AddCommentArgs; result: CommentAdded };
  archive_project: { args: ArchiveProjectArgs; result: ProjectSummary };
  assign_issue: { args: AssignIssueArgs; result: IssueChanged };
  board_page: { args: BoardPageArgs; result: BoardPage };
  close_issues: { args: CloseIssuesArgs; result: IssuesClosed };
  edit_comment: { args: EditCommentArgs; result: IssueComment };
  issue_comments: { args: IssueCommentsArgs; result: IssueComment[] };
  issue_detail: { args: IssueDetailArgs; result: IssueDetail };
  move_issue: { args: MoveIssueArgs; result: IssueChanged };
  my_issues: { args: Nothing; result: WorkList };
  organisation: { args: Nothing; result: OrganisationCard };
  people_list: { args: Nothing; result: PersonCard[] };
  project_list: { args: Nothing; result: ProjectSummary[] };
  rename_issue: { args: RenameIssueArgs; result: IssueChanged };
  set_status: { args: SetStatusArgs; result: IssueChanged };
  take_issue: { args: TakeIssueArgs; result: IssueChanged };
  whoami: { args: Nothing; result: PersonCard | null };
  workload: { args: Nothing; result: WorkloadRow[] };
};

/** No arguments, or no parameters. */
export type Nothing = { [key: string]: never };

/** The bundle of `abilities`. */
export interface AbilitiesBundle {
  /** The permissions of the caller's role, so that a page can hide what would be refused: one answer for each role. */
  abilities: Abilities;
}

/** Parameters of `board`. */
export interface BoardParams {
  /** @defaultValue 1 */
  page?: number;
  project_id: number;
}

/** The bundle of `board`. */
export interface BoardBundle {
  /** A page of a project's issues. Mutations narrow by the project alone: a change may move issues on all pages. */
  board_page: BoardPage;
}

/** Parameters of `issue`. */
export interface IssueParams {
  issue_id: number;
}

/** The bundle of `issue`. */
export interface IssueBundle {
  issue_comments: IssueComment[];
  issue_detail: IssueDetail;
}

/** The bundle of `me`. */
export interface MeBundle {
  /** The person who is signed in; None for all visitors, who share that answer. */
  whoami: PersonCard | null;
}

/** The bundle of `organisation`. */
export interface OrganisationBundle {
  organisation: OrganisationCard;
}

/** The bundle of `people`. */
export interface PeopleBundle {
  /** All people, by name. */
  people_list: PersonCard[];
}

/** The bundle of `projects`. */
export interface ProjectsBundle {
  /** All projects with their counts. Every change of a status makes it stale, so it is one small query. */
  project_list: ProjectSummary[];
}

/** The bundle of `work`. */
export interface WorkBundle {
  /** The caller's open issues. A visitor has no list: 401. A mutation narrows by the person or the organisation. */
  my_issues: WorkList;
}

/** The bundle of `workload`. */
export interface WorkloadBundle {
  /** The numbers of open issues, by person; by role for callers without the permission `people.workload`. */
  workload: WorkloadRow[];
}

/** Arguments of `add_comment`. */
export interface AddCommentArgs {
  issue_id: number;
  text: string;
}

/** Arguments of `archive_project`. */
export interface ArchiveProjectArgs {
  project_id: number;
  /** @defaultValue true */
  archived?: boolean;
}

/** Arguments of `assign_issue`. */
export interface AssignIssueArgs {
  issue_id: number;
  assignee_id: number | null;
}

/** Arguments of `board_page`. */
export interface BoardPageArgs {
  project_id: number;
  /** @defaultValue 1 */
  page?: number;
}

/** Arguments of `close_issues`. */
export interface CloseIssuesArgs {
  issue_ids: number[];
}

/** Arguments of `edit_comment`. */
export interface EditCommentArgs {
  issue_id: number;
  comment_id: number;
  text: string;
}

/** Arguments of `issue_comments`. */
export interface IssueCommentsArgs {
  issue_id: number;
}

/** Arguments of `issue_detail`. */
export interface IssueDetailArgs {
  issue_id: number;
}

/** Arguments of `move_issue`. */
export interface MoveIssueArgs {
  issue_id: number;
  to_project_id: number;
}

/** Arguments of `rename_issue`. */
export interface RenameIssueArgs {
  issue_id: number;
  title: string;
}

/** Arguments of `set_status`. */
export interface SetStatusArgs {
  issue_id: number;
  status: Status;
}

/** Arguments of `take_issue`. */
export interface TakeIssueArgs {
  issue_id: number;
}

export interface Abilities {
  permissions: string[];
}

/** One page of a project's issues: active ones first, closed ones last. `public`: it has a page for the world. */
export interface BoardPage {
  project_id: number;
  key: string;
  name: string;
  public: boolean;
  page: number;
  pages: number;
  issues: BoardRow[];
}

export interface BoardRow {
  issue_id: number;
  title: string;
  status: Status;
  priority: number;
  assignee: string | null;
  comments: number;
}

export interface CommentAdded {
  comment_id: number;
  issue_id: number;
  project_id: number;
}

export interface IssueChanged {
  issue_id: number;
  project_id: number;
}

export interface IssueComment {
  comment_id: number;
  author_id: number;
  author: string;
  text: string;
  created_at: string;
  edited_at: string | null;
}

/** One issue. It does not show whether its project is archived, or archiving would purge every issue. */
export interface IssueDetail {
  issue_id: number;
  project_id: number;
  key: string;
  title: string;
  text: string;
  status: Status;
  priority: number;
  assignee_id: number | null;
  assignee: string | null;
  reporter: string;
  created_at: string;
  updated_at: string;
}

export interface IssuesClosed {
  issue_ids: number[];
  project_ids: number[];
}

export interface OrganisationCard {
  org_id: number;
  name: string;
}

export interface PersonCard {
  person_id: number;
  name: string;
  role: Role;
}

/** A project, with its numbers of issues by status. */
export interface ProjectSummary {
  project_id: number;
  key: string;
  name: string;
  lead: string;
  archived: boolean;
  open: number;
  active: number;
  closed: number;
}

/** A person's role in the tracker. Each has at least the permissions of the one before. */
export type Role = "viewer" | "developer" | "lead" | "admin";

/** The state of an issue. */
export type Status = "open" | "active" | "closed";

export interface WorkItem {
  issue_id: number;
  key: string;
  title: string;
  status: Status;
  priority: number;
}

/** The most urgent of a person's issues, and the number of all of them. */
export interface WorkList {
  person_id: number;
  total: number;
  issues: WorkItem[];
}

/** The numbers of a person's or a role's issues, in projects that are not archived. `who` is None: no assignee. */
export interface WorkloadRow {
  who: string | null;
  open: number;
  active: number;
}

/** Make a client of this server. It keeps bundles, so a server that renders pages makes one for each user. */
export declare function createMizan(options?: ClientOptions): Mizan;
