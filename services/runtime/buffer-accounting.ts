/**
 * Mail passes through Buffers, which V8 keeps outside its heap. By default it collects the whole heap after every 64 MiB of new ones, however
 * much memory there is: at 50 MB of mail a second a process with a large queue walks that queue every second. With this flag
 * Buffers count like the heap itself, and it is collected when both together have grown by a share of what they were.
 *
 * Imported before the first mail. A Node that does not know the flag works as it would have.
 */

import { setFlagsFromString } from 'node:v8'

setFlagsFromString('--external-memory-accounted-in-global-limit')
