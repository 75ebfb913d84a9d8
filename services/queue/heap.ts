/** A binary heap by a numeric key; ties come out in order of arrival, so that a run is the same every time. */

interface Item<Value> {
  readonly key: number
  readonly serial: number
  readonly value: Value
}

export class Heap<Value> {
  #items: Item<Value>[] = []
  #serial = 0

  get size(): number {
    return this.#items.length
  }

  peek(): Value | undefined {
    return this.#items[0]?.value
  }

  /** Key of the least item; Infinity where there is none. */
  leastKey(): number {
    return this.#items[0]?.key ?? Number.POSITIVE_INFINITY
  }

  push(key: number, value: Value): void {
    const items = this.#items
    let index = items.length
    const item: Item<Value> = { key, serial: this.#serial++, value }
    items.push(item)
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!isBefore(item, items[parent]!)) break
      items[index] = items[parent]!
      index = parent
    }
    items[index] = item
  }

  pop(): Value | undefined {
    const items = this.#items
    const least = items[0]
    const last = items.pop()
    if (least === undefined || last === undefined) return undefined
    if (items.length > 0) this.#sink(last)
    return least.value
  }

  /** Everything, in no order; the heap is empty afterwards. */
  drain(): Value[] {
    const values = this.#items.map((item) => item.value)
    this.#items = []
    return values
  }

  #sink(item: Item<Value>): void {
    const items = this.#items
    let index = 0
    for (;;) {
      let child = index * 2 + 1
      if (child >= items.length) break
      if (child + 1 < items.length && isBefore(items[child + 1]!, items[child]!)) child++
      if (!isBefore(items[child]!, item)) break
      items[index] = items[child]!
      index = child
    }
    items[index] = item
  }
}

function isBefore<Value>(a: Item<Value>, b: Item<Value>): boolean {
  return a.key < b.key || (a.key === b.key && a.serial < b.serial)
}
