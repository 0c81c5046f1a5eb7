// Written by `python -m tests.codegen.golden`. Changes will be lost.
/* eslint-disable */

import type { CallOptions, Client, ClientOptions, ParamsOf, State } from "./client.js";

export { MizanError } from "./client.js";
export type { CallOptions, Client, ClientOptions, Invalidation, State } from "./client.js";

/** All functions and contexts of the server. */
export interface Mizan {
  /** The client of the runtime, which takes the names of functions and contexts as arguments. */
  readonly client: Client<Contexts, Functions>;
  readonly contexts: {
    readonly class: ContextClient<Nothing, ClassBundle>;
    readonly inbox: ContextClient<Nothing, InboxBundle>;
    readonly inbox_params: ContextClient<InboxParamsParams, InboxParamsBundle>;
    readonly "odd.context-1": ContextClient<OddContext1Params, OddContext1Bundle>;
  };
  ["__proto__"](args?: Nothing, options?: CallOptions<Contexts>): Promise<NothingModel>;
  "a.b-c"(args: ABCArgs, options?: CallOptions<Contexts>): Promise<Nested>;
  /** Files and other arguments. */
  attach(args: AttachArgs, options?: CallOptions<Contexts>): Promise<string>;
  attach_if_any(args: AttachIfAnyArgs, options?: CallOptions<Contexts>): Promise<null>;
  contexts_(args: ContextsArgs, options?: CallOptions<Contexts>): Promise<null>;
  delete(args: DeleteArgs, options?: CallOptions<Contexts>): Promise<[StockItem, AwkwardItem]>;
  inbox(args?: Nothing, options?: CallOptions<Contexts>): Promise<[number, string] | null>;
  "inbox.shared"(args?: Nothing, options?: CallOptions<Contexts>): Promise<number>;
  inbox_(args?: Nothing, options?: CallOptions<Contexts>): Promise<PromiseModel>;
  inbox_params(args?: InboxParamsArgs, options?: CallOptions<Contexts>): Promise<number>;
  "inbox_params.shared"(args?: InboxParamsSharedArgs, options?: CallOptions<Contexts>): Promise<StockItem>;
  /** Optional everywhere. */
  many(args?: ManyArgs, options?: CallOptions<Contexts>): Promise<Maybe[] | null>;
  mwt_obtain(args?: Nothing, options?: CallOptions<Contexts>): Promise<IssuedToken>;
  reserved(args?: Nothing, options?: CallOptions<Contexts>): Promise<PageItem>;
  results(args?: ResultsArgs, options?: CallOptions<Contexts>): Promise<Serialized>;
  save_account(args: SaveAccountArgs, options?: CallOptions<Contexts>): Promise<Account>;
  /**
   * A parameter of each kind that a URL can spell.
   *
   * Ends no comment: *\/ and has a `backtick` and a \ backslash.
   */
  scalars(args: ScalarsArgs, options?: CallOptions<Contexts>): Promise<{ [key: string]: unknown }>;
  "second-reader.v2"(args: SecondReaderV2Args, options?: CallOptions<Contexts>): Promise<PageItem2>;
  shapes(args: ShapesArgs, options?: CallOptions<Contexts>): Promise<Tree | JsonLike | Forest | Tags | Empty | NothingModel | Open | Release | Point | Size | Maybe | PairIntInt>;
  standard(args: StandardArgs, options?: CallOptions<Contexts>): Promise<[string, string, string, string, number[], number[], string]>;
  then_(args?: Nothing, options?: CallOptions<Contexts>): Promise<null>;
  unions(args: UnionsArgs, options?: CallOptions<Contexts>): Promise<(Cat | Dog | Fish | number)[]>;
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
  class: { params: Nothing; data: ClassBundle };
  inbox: { params: Nothing; data: InboxBundle };
  inbox_params: { params: InboxParamsParams; data: InboxParamsBundle };
  "odd.context-1": { params: OddContext1Params; data: OddContext1Bundle };
};

/** The arguments and the result of each function. */
export type Functions = {
  ["__proto__"]: { args: Nothing; result: NothingModel };
  "a.b-c": { args: ABCArgs; result: Nested };
  attach: { args: AttachArgs; result: string };
  attach_if_any: { args: AttachIfAnyArgs; result: null };
  contexts: { args: ContextsArgs; result: null };
  delete: { args: DeleteArgs; result: [StockItem, AwkwardItem] };
  inbox: { args: Nothing; result: [number, string] | null };
  "inbox.shared": { args: Nothing; result: number };
  inbox_: { args: Nothing; result: PromiseModel };
  inbox_params: { args: InboxParamsArgs; result: number };
  "inbox_params.shared": { args: InboxParamsSharedArgs; result: StockItem };
  many: { args: ManyArgs; result: Maybe[] | null };
  mwt_obtain: { args: Nothing; result: IssuedToken };
  reserved: { args: Nothing; result: PageItem };
  results: { args: ResultsArgs; result: Serialized };
  save_account: { args: SaveAccountArgs; result: Account };
  scalars: { args: ScalarsArgs; result: { [key: string]: unknown } };
  "second-reader.v2": { args: SecondReaderV2Args; result: PageItem2 };
  shapes: { args: ShapesArgs; result: Tree | JsonLike | Forest | Tags | Empty | NothingModel | Open | Release | Point | Size | Maybe | PairIntInt };
  standard: { args: StandardArgs; result: [string, string, string, string, number[], number[], string] };
  then: { args: Nothing; result: null };
  unions: { args: UnionsArgs; result: (Cat | Dog | Fish | number)[] };
};

/** No arguments, or no parameters. */
export type Nothing = { [key: string]: never };

/** The bundle of `class`. */
export interface ClassBundle {
  reserved: PageItem;
}

/** The bundle of `inbox`. */
export interface InboxBundle {
  inbox: [number, string] | null;
  shared: number;
}

/** Parameters of `inbox_params`. */
export interface InboxParamsParams {
  /** @defaultValue 1 */
  x?: number;
}

/** The bundle of `inbox_params`. */
export interface InboxParamsBundle {
  inbox_params: number;
  shared: StockItem;
}

/** Parameters of `odd.context-1`. */
export interface OddContext1Params {
  /** @defaultValue 1152921504606846976 */
  big?: number;
  /** @defaultValue "red" */
  color?: Color;
  /** @defaultValue "2026-01-02" */
  day?: string;
  /** @defaultValue [] */
  ids?: number[];
  level?: Level | null;
  /** @defaultValue 0.5 */
  ratio?: number;
  required_null?: string | null;
  user_id: number;
}

/** The bundle of `odd.context-1`. */
export interface OddContext1Bundle {
  /**
   * A parameter of each kind that a URL can spell.
   *
   * Ends no comment: *\/ and has a `backtick` and a \ backslash.
   */
  scalars: { [key: string]: unknown };
  "second-reader.v2": PageItem2;
}

/** Arguments of `a.b-c`. */
export interface ABCArgs {
  models: NestedInput;
  dashed?: DashedInput | null;
}

/** Arguments of `attach`. */
export interface AttachArgs {
  user_id: number;
  picture: Blob | File;
  /**
   * The others.
   * @defaultValue []
   */
  more?: (Blob | File)[];
  thumbnail?: Blob | File | null;
  account?: AccountInput | null;
  /** @defaultValue [] */
  tags?: string[];
}

/** Arguments of `attach_if_any`. */
export interface AttachIfAnyArgs {
  note: string;
  thumbnail?: Blob | File | null;
}

/** Arguments of `contexts`. */
export interface ContextsArgs {
  then: boolean;
}

/** Arguments of `delete`. */
export interface DeleteArgs {
  item: StockItem;
  other: AwkwardItemInput;
}

/** Arguments of `inbox_params`. */
export interface InboxParamsArgs {
  /** @defaultValue 1 */
  x?: number;
}

/** Arguments of `inbox_params.shared`. */
export interface InboxParamsSharedArgs {
  /** @defaultValue 1 */
  x?: number;
}

/** Arguments of `many`. */
export interface ManyArgs {
  account?: AccountInput | null;
  /** @defaultValue [] */
  accounts?: AccountInput[];
  /** @defaultValue "⟨*\/⟩ \ud800" */
  text?: string;
  /** @defaultValue 1.5 */
  infinite?: number;
  nothing?: null;
}

/** Arguments of `results`. */
export interface ResultsArgs {
  /** @defaultValue false */
  callback?: boolean;
}

/** Arguments of `save_account`. */
export interface SaveAccountArgs {
  account: AccountInput;
  user_id?: number | null;
}

/** Arguments of `scalars`. */
export interface ScalarsArgs {
  user_id: number;
  required_null: string | null;
  /** @defaultValue "2026-01-02" */
  day?: string;
  /** @defaultValue [] */
  ids?: number[];
  /** @defaultValue "red" */
  color?: Color;
  level?: Level | null;
  /** @defaultValue 0.5 */
  ratio?: number;
  /** @defaultValue 1152921504606846976 */
  big?: number;
}

/** Arguments of `second-reader.v2`. */
export interface SecondReaderV2Args {
  user_id: number;
}

/** Arguments of `shapes`. */
export interface ShapesArgs {
  tree: TreeInput;
  json: JsonLikeInput;
  value: JsonValue;
  forest: ForestInput;
  tags: Tags;
  empty: Empty;
  nothing: NothingModel;
  opened: Open;
  movie: Movie;
  release: Release;
  point: PointInput;
  size: SizeInput;
  pair: PairStrListPairIntColor;
  maybe: MaybeInput;
}

/** Arguments of `standard`. */
export interface StandardArgs {
  moment: string;
  clock: string;
  length: string;
  identifier: string;
  raw: string;
  money: number | string;
  percent: number;
  few: number[];
  unique: [number, string][];
  fixed: [number, string, boolean | null];
  none: [];
  inner: string;
  whatever: unknown;
  thing: unknown;
  plain: { [key: string]: unknown };
}

/** Arguments of `unions`. */
export interface UnionsArgs {
  pet: CatInput | DogInput;
  pets: (CatInput | DogInput | null)[];
  tagged: FishInput | number;
  literal: "a" | 1 | true | "\"" | null;
  mixed: Mixed;
  several: (number | string)[] | { [key: string]: number };
  same: number | string;
}

/** Used for an argument and for a result, in which it looks different. */
export interface Account {
  name: string;
  nick: string | null;
  /** In years. */
  age: number;
  created: string;
  /** @deprecated */
  old_name: string;
  /** Made of the name. */
  initials: string;
}

/** Used for an argument and for a result, in which it looks different. */
export interface AccountInput {
  name: string;
  nick?: string | null;
  /**
   * In years.
   * @defaultValue 0
   */
  age?: number;
  /** @defaultValue "" */
  secret?: string;
  created?: string;
  /**
   * @deprecated
   * @defaultValue ""
   */
  old_name?: string;
}

/** Another `Item` than that of the stock. */
export interface AwkwardItem {
  id: number;
  price: string;
  tags: string[];
}

/** Another `Item` than that of the stock. */
export interface AwkwardItemInput {
  id: number;
  price: number | string;
  /** @defaultValue [] */
  tags?: string[];
}

export interface Branch {
  trees: Tree[];
}

export interface BranchInput {
  trees: TreeInput[];
}

export interface Cat {
  kind: "cat";
  lives: number;
}

export interface CatInput {
  kind: "cat";
  /** @defaultValue 9 */
  lives?: number;
}

/** What there is. /* Not a comment *\/ in a comment. */
export type Color = "red" | "deep blue";

export interface Dashed {
  "content-type": string;
  class: number;
  ["__proto__"]: string;
  both: number;
  "\"quoted\"\n": string;
  "größe": number;
}

export interface DashedInput {
  "content-type": string;
  /** @defaultValue 1 */
  class?: number;
  /** @defaultValue "" */
  ["__proto__"]?: string;
  one: number;
  /** @defaultValue "" */
  "\"quoted\"\n"?: string;
  /** @defaultValue 1 */
  "größe"?: number;
}

export interface Dog {
  kind: "dog" | "wolf";
  good: true;
}

export interface DogInput {
  kind: "dog" | "wolf";
  /** @defaultValue true */
  good?: true;
}

export type Empty = { [key: string]: unknown };

export interface Fish {
  type: "fish";
}

export interface FishInput {
  /** @defaultValue "fish" */
  type?: "fish";
}

export type Forest = { [key: string]: Forest };

export type ForestInput = { [key: string]: ForestInput };

/** The result of `mwt_obtain`; `expires_in` in seconds. */
export interface IssuedToken {
  token: string;
  expires_in: number;
}

export type JsonLike = { [key: string]: JsonLike } | JsonLike[] | string | number | boolean | null;

export type JsonLikeInput = { [key: string]: JsonLikeInput } | JsonLikeInput[] | string | number | boolean | null;

export type JsonValue = unknown;

export type Level = 1 | 2;

/** Of four kinds: a field may be left out, be null, both, or neither. */
export interface Maybe {
  neither: number;
  nullable: number | null;
  optional: number;
  both: number | null;
  /** @defaultValue 0 */
  excluded?: number;
}

/** Of four kinds: a field may be left out, be null, both, or neither. */
export interface MaybeInput {
  neither: number;
  nullable: number | null;
  /** @defaultValue 1 */
  optional?: number;
  both?: number | null;
  /** @defaultValue 0 */
  excluded?: number;
}

export type Mixed = "text" | 1.5 | null;

/** A dictionary of known keys. */
export interface Movie {
  title: string;
  year?: number;
}

export interface Nested {
  dashed: Dashed;
  accounts: { [key: string]: Account };
  by_level: { [key: string]: number };
  by_color: { [key in Color]?: number[] };
  by_word: { [key in "on" | "off"]?: boolean };
  by_number: { [key: string]: string };
  by_day: { [key: string]: string };
  by_pattern: { [key: string]: number };
}

export interface NestedInput {
  dashed: DashedInput;
  accounts: { [key: string]: AccountInput };
  /** @defaultValue {} */
  by_level?: { [key: string]: number };
  /** @defaultValue {} */
  by_color?: { [key in Color]?: number[] };
  /** @defaultValue {} */
  by_word?: { [key in "on" | "off"]?: boolean };
  /** @defaultValue {} */
  by_number?: { [key: string]: string };
  /** @defaultValue {} */
  by_day?: { [key: string]: string };
  /** @defaultValue {} */
  by_pattern?: { [key: string]: number };
}

/** Its name is taken, and it takes nothing. */
export type NothingModel = { [key: string]: never };

export interface Open {
  name: string;
  [key: string]: unknown;
}

export interface PageItem {
  items: StockItem[];
  next: number | null;
}

export interface PageItem2 {
  items: AwkwardItem[];
  next: number | null;
}

export interface PairIntColor {
  key: number;
  value: Color;
}

export interface PairIntInt {
  key: number;
  value: number;
}

export interface PairStrListPairIntColor {
  key: string;
  value: PairIntColor[];
}

export interface Point {
  x: number;
  y: number;
  labels: string[];
}

export interface PointInput {
  x: number;
  /** @defaultValue 0 */
  y?: number;
  labels?: string[];
}

/** Would hide a global type. */
export interface PromiseModel {
  text: string;
}

export interface Release {
  movie: Movie;
  note?: string | null;
}

export interface Serialized {
  stated: number[];
  unstated: unknown;
  opened: Empty;
}

export type Size = [number, number];

export type SizeInput = [number, number?];

/** An item of the stock. */
export interface StockItem {
  shelf: string;
}

/** A list, by another name. */
export type Tags = string[];

/** Contains itself, and another that contains it. */
export interface Tree {
  value: number;
  children: Tree[];
  branch: Branch | null;
}

/** Contains itself, and another that contains it. */
export interface TreeInput {
  value: number;
  /** @defaultValue [] */
  children?: TreeInput[];
  branch?: BranchInput | null;
}

/** Make a client of this server. It keeps bundles, so a server that renders pages makes one for each user. */
export declare function createMizan(options?: ClientOptions): Mizan;
