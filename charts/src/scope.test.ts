import { readScope } from "./scope";

test.each([
  ["", undefined],
  ['{"users":{"zhang":"nation","li":["310000"],"wang":"320000","chen":"none"},"teams":{"east":{"logins":["zhou"],"units":["330000"]}},"orgs":{"1":"nation"},"alerts":"nation","public":"none","default":"none","counties":true}', undefined],
  ["{", "JSON"],
  ["[]", "JSON"],
  ['{"user":{}}', "user"],
  ['{"users":{"li":["31"]}}', "users.li"],
  ['{"users":{"li":{"units":["310000"]}}}', "users.li"],
  ['{"orgs":{"main":"nation"}}', "orgs.main"],
  ['{"teams":{"east":["zhou"]}}', "teams.east"],
  ['{"teams":{"east":{"logins":["zhou"],"unit":["330000"]}}}', "teams.east"],
  ['{"default":"Nation"}', "default"],
  ['{"counties":"310000"}', "counties"],
])("%s", (text, wrong) => {
  const got = readScope(text);
  expect(got.wrong).toBe(wrong);
  expect(got.scope === undefined).toBe(text === "" || wrong !== undefined);
});
