/** A log for commands that speak to a person themselves. */

import type { Log } from './world.ts'

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }
