/** Tests of the editors, with Grafana's own components in jsdom. */
module.exports = {
  testEnvironment: "jsdom",
  // Grafana's components are large, and a runner may be slow.
  testTimeout: 120_000,
  roots: ["<rootDir>/src"],
  transform: { "\\.m?[jt]sx?$": "<rootDir>/jest.transform.cjs" },
  // Some packages ship modules only; esbuild turns all of them into what jest reads.
  transformIgnorePatterns: [],
  setupFiles: ["<rootDir>/jest.polyfill.cjs"],
  setupFilesAfterEnv: ["<rootDir>/jest.setup.ts"],
  // What the lock file leaves out because no editor needs it: maps and a code editor.
  moduleNameMapper: { "\\.(css|scss)$|^ol(/|$)|^monaco-editor|^@grafana/faro|^@openfeature/": "<rootDir>/jest.empty.cjs" },
};
