/** A disk whose durable writes fail while the test says so; everything else is the disk beneath. */

import type { Disk } from '../../services/runtime/world.ts'

export function failingWrites(disk: Disk, why: () => string | undefined): Disk {
  return instead(disk, {
    open: async (path: string, mode: 'read' | 'write' | 'create') => {
      const file = await disk.open(path, mode)
      return instead(file, {
        writeDurably: (chunks: readonly Buffer[], position: number) => {
          const text = why()
          return text === undefined ? file.writeDurably(chunks, position) : Promise.reject(new Error(text))
        },
      })
    },
  })
}

function instead<Thing extends object>(thing: Thing, other: Partial<Thing>): Thing {
  return new Proxy(thing, {
    get: (target, name) => {
      const replaced = Reflect.get(other, name)
      if (replaced !== undefined) return replaced
      const own = Reflect.get(target, name)
      return typeof own === 'function' ? own.bind(target) : own
    },
  })
}
