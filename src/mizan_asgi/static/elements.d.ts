/**
 * For pages whose HTML comes from the server: importing the module refreshes elements that went stale.
 *
 * `data-mizan` names what an element shows: contexts with queries, separated by commas, as in `X-Mizan-Mounted`.
 * `data-mizan-src` is where its HTML comes from. On the element, and bubbling, come the events `mizan:stale`, which may
 * be prevented, `mizan:refreshed` and `mizan:error`, whose `detail` is the error.
 */

import type { Invalidation } from "./client.js";

/** Refresh the elements that these touch: for what a page learns of in another way. */
export function invalidate(...invalidations: Invalidation[]): void;
