/**
 * A table whose entries have a time to live and whose size has a limit: past it, the entry that was set longest ago goes first.
 */

interface Row<Value> {
  readonly value: Value
  readonly until: number
}

export class ExpiringTable<Value> {
  readonly #entriesMax: number
  readonly #rows = new Map<string, Row<Value>>()

  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax
  }

  get size(): number {
    return this.#rows.size
  }

  get(key: string, now: number): Value | undefined {
    const row = this.#rows.get(key)
    return row === undefined || row.until <= now ? undefined : row.value
  }

  /** In the order they were set. */
  entries(now: number): readonly (readonly [string, Value])[] {
    return [...this.#rows].flatMap(([key, { value, until }]) => (until > now ? [[key, value] as const] : []))
  }

  set(key: string, value: Value, now: number, ttlMs: number): void {
    this.#rows.delete(key)
    this.#rows.set(key, { value, until: now + ttlMs })
    this.#tidy(now)
  }

  delete(key: string): void {
    this.#rows.delete(key)
  }

  /** The few oldest at each step: what has expired behind a longer-lived entry waits until that is the oldest. */
  #tidy(now: number): void {
    for (const [key, { until }] of this.#rows) {
      if (until > now && this.#rows.size <= this.#entriesMax) return
      this.#rows.delete(key)
    }
  }
}
