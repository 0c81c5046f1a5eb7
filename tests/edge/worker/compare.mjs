// What the example's edge.js says of URLs and headers: cases as JSON on standard input, answers on standard output.
import { readFileSync } from "node:fs";
import { Edge } from "../../../examples/edge_worker/edge.js";

const worlds = JSON.parse(readFileSync(0, "utf8"));
const answers = worlds.map(({ tables, urls, headers, paths }) => {
  const edge = new Edge(tables);
  return {
    kept: urls.map((url) => {
      const located = edge.locate(url);
      return located && [located.url, located.tags];
    }),
    tags: headers.map((header) => edge.tagsOf(header)),
    urls: headers.map((header) => edge.urlsOf(header)),
    affected: paths.map((path) => edge.affectedAt(path)),
  };
});
process.stdout.write(JSON.stringify(answers));
