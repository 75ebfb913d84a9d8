/** An error as Node's system calls give it: `code` is what callers read. */

export function systemError(code: string, what: string): Error & { code: string } {
  return Object.assign(new Error(`${code}: simulated, ${what}`), { code })
}
