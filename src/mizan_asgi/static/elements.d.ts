/**
 * For pages whose HTML comes from the server: importing the module refreshes elements that went stale.
 *
 * `data-mizan` names the bundles that an element shows: contexts with queries, separated by commas, as in
 * `X-Mizan-Mounted`. `data-mizan-src` is the URL of its HTML, a page of this origin; nothing in the HTML runs. Nothing
 * is refreshed inside an element with `data-mizan-ignore`. Three events bubble from the element: `mizan:stale`, which
 * may be prevented, `mizan:refreshed`, and `mizan:error`, whose `detail` is the error.
 *
 * Invalidations are exchanged with other tabs and with clients of this page over a channel: that of the mount point
 * from which this module is loaded, or the one that `data-mizan-channel` of the root element names.
 */

import type { Invalidation } from "./client.js";

/** Refresh the elements that these touch, in other tabs too: for changes that the page learns of in another way. */
export function invalidate(...invalidations: Invalidation[]): void;
