// The explorer that a local server serves.

import { start } from "./app.js";
import { Live } from "./source.js";

start(new Live());
