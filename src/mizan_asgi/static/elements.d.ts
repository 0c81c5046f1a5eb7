/**
 * For pages whose HTML comes from the server: importing the module refreshes elements that went stale.
 *
 * `data-mizan` names what an element shows: contexts with queries, separated by commas, as in `X-Mizan-Mounted`.
 * `data-mizan-src` is where its HTML comes from: a page of this origin. Nothing in it runs. Nothing is refreshed inside
 * of an element with `data-mizan-ignore`. On the element, and bubbling, come the events `mizan:stale`, which may be
 * prevented, `mizan:refreshed` and `mizan:error`, whose `detail` is the error.
 *
 * Other tabs, and clients of this page, hear of it and are heard over their channel: that of the mount point which this
 * module is loaded from, or the one that `data-mizan-channel` of the root element names.
 */

import type { Invalidation } from "./client.js";

/** Refresh the elements that these touch, in other tabs as well: for what a page learns of in another way. */
export function invalidate(...invalidations: Invalidation[]): void;
