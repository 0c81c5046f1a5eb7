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
    readonly people: ContextClient<Nothing, PeopleBundle>;
    readonly projects: ContextClient<Nothing, ProjectsBundle>;
    readonly work: ContextClient<WorkParams, WorkBundle>;
    readonly workload: ContextClient<Nothing, WorkloadBundle>;
  };
  /** What the caller may do, so that a page can leave out what would be refused. Only a release changes it. */
  abilities(args?: Nothing, options?: CallOptions<Contexts>): Promise<Abilities>;
  /** The board counts comments; what else an issue shows stays as it is. */
  add_comment(args: AddCommentArgs, options?: CallOptions<Contexts>): Promise<CommentAdded>;
  /** Takes a project's issues off everybody's list; nearly everybody has one, so the lists go as a whole. */
  archive_project(args: ArchiveProjectArgs, options?: CallOptions<Contexts>): Promise<ProjectSummary>;
  /** Two lists change: of whoever had it and of whoever gets it. Either may be nobody, whom a binding cannot name. */
  assign_issue(args: AssignIssueArgs, options?: CallOptions<Contexts>): Promise<IssueChanged>;
  /** A page of a project's issues. Mutations name the project only: one issue closed moves those of every page. */
  board_page(args: BoardPageArgs, options?: CallOptions<Contexts>): Promise<BoardPage>;
  /** All of them or none. A list narrows to one entry for each element; beyond 64 it would be the whole context. */
  close_issues(args: CloseIssuesArgs, options?: CallOptions<Contexts>): Promise<IssuesClosed>;
  /** Takes the issue because it narrows. It is checked to be the comment's own, or another one would be purged. */
  edit_comment(args: EditCommentArgs, options?: CallOptions<Contexts>): Promise<IssueComment>;
  issue_comments(args: IssueCommentsArgs, options?: CallOptions<Contexts>): Promise<IssueComment[]>;
  issue_detail(args: IssueDetailArgs, options?: CallOptions<Contexts>): Promise<IssueDetail>;
  /** Two boards change, and a list that shows the issue's key, which begins with the project's. */
  move_issue(args: MoveIssueArgs, options?: CallOptions<Contexts>): Promise<IssueChanged>;
  /** What somebody has to do: for themselves and for staff. One purge of a person's list reaches all its copies. */
  my_issues(args: MyIssuesArgs, options?: CallOptions<Contexts>): Promise<WorkList>;
  /** Everybody, by name. */
  people_list(args?: Nothing, options?: CallOptions<Contexts>): Promise<PersonCard[]>;
  /** All projects with their counts. Any change of a status anywhere changes it, so it is one small query. */
  project_list(args?: Nothing, options?: CallOptions<Contexts>): Promise<ProjectSummary[]>;
  /** Changes no count: `projects` and `workload` stay as they are. */
  rename_issue(args: RenameIssueArgs, options?: CallOptions<Contexts>): Promise<IssueChanged>;
  set_status(args: SetStatusArgs, options?: CallOptions<Contexts>): Promise<IssueChanged>;
  /** Onto the caller's list, and off the list of whoever had it. */
  take_issue(args: TakeIssueArgs, options?: CallOptions<Contexts>): Promise<IssueChanged>;
  /** Who is signed in, if anybody is. The identity makes it `per="user"`. */
  whoami(args?: Nothing, options?: CallOptions<Contexts>): Promise<PersonCard | null>;
  /** Who has how much to do; by role only, for those who may not see it by person. */
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
  people: { params: Nothing; data: PeopleBundle };
  projects: { params: Nothing; data: ProjectsBundle };
  work: { params: WorkParams; data: WorkBundle };
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
  my_issues: { args: MyIssuesArgs; result: WorkList };
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
  /** What the caller may do, so that a page can leave out what would be refused. Only a release changes it. */
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
  /** A page of a project's issues. Mutations name the project only: one issue closed moves those of every page. */
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
  /** Who is signed in, if anybody is. The identity makes it `per="user"`. */
  whoami: PersonCard | null;
}

/** The bundle of `people`. */
export interface PeopleBundle {
  /** Everybody, by name. */
  people_list: PersonCard[];
}

/** The bundle of `projects`. */
export interface ProjectsBundle {
  /** All projects with their counts. Any change of a status anywhere changes it, so it is one small query. */
  project_list: ProjectSummary[];
}

/** Parameters of `work`. */
export interface WorkParams {
  person_id: number;
}

/** The bundle of `work`. */
export interface WorkBundle {
  /** What somebody has to do: for themselves and for staff. One purge of a person's list reaches all its copies. */
  my_issues: WorkList;
}

/** The bundle of `workload`. */
export interface WorkloadBundle {
  /** Who has how much to do; by role only, for those who may not see it by person. */
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

/** Arguments of `my_issues`. */
export interface MyIssuesArgs {
  person_id: number;
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

/** One page of a project's issues: those in work first, the closed ones last. */
export interface BoardPage {
  project_id: number;
  key: string;
  name: string;
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

/** One issue. Whether its project is archived is for `projects` to say: one purge there, not one for each issue. */
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

export interface PersonCard {
  person_id: number;
  name: string;
  role: Role;
}

/** A project and how many of its issues stand where. */
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

/** What somebody is in this tracker. Each may do what those before it may. */
export type Role = "viewer" | "developer" | "lead" | "admin";

/** Where an issue stands. */
export type Status = "open" | "active" | "closed";

export interface WorkItem {
  issue_id: number;
  key: string;
  title: string;
  status: Status;
  priority: number;
}

/** The most urgent of somebody's issues, and how many there are. */
export interface WorkList {
  person_id: number;
  total: number;
  issues: WorkItem[];
}

/** How much a person or a role has to do in projects that are not archived; None stands for nobody. */
export interface WorkloadRow {
  who: string | null;
  open: number;
  active: number;
}

/** Make a client of this server. It keeps bundles, so a server that renders pages makes one for each user. */
export declare function createMizan(options?: ClientOptions): Mizan;
