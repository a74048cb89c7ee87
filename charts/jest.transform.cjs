// esbuild strips the types; tsc checks them, in a step of its own.
const { transformSync } = require("esbuild");
module.exports = {
  process(source, path) {
    const loader = /\.tsx$/.test(path) ? "tsx" : /\.ts$/.test(path) ? "ts" : "js";
    const { code, map } = transformSync(source, { loader, format: "cjs", target: "node20", jsx: "automatic", sourcemap: "external", sourcefile: path });
    return { code, map };
  },
};
