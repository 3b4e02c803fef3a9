// All tests of the page: node tests/ui/run.mjs [word ...]; the last line is "N passed, N failed".
import { suite } from "./rig.mjs";
import "./test_attack.mjs";
import "./test_pure.mjs";
import { setUp, tearDown } from "./test_ui.mjs";

let status = 1;
try {
    await setUp();
    status = await suite.run(process.argv.slice(2));
} finally {
    await tearDown();
}
process.exit(status);
