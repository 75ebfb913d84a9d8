/** A world with some calls replaced: how faults are planted from outside. */

import type { Disk, DiskFile, World } from '../../services/runtime/world.ts'

/** `thing` with some of its methods replaced; the others keep their `this`. */
export function changed<Thing extends object>(thing: Thing, replaced: Partial<Thing>): Thing {
  return new Proxy(thing, {
    get: (target, name) => {
      const own: unknown = Reflect.get(replaced, name)
      if (own !== undefined) return own
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

export function changedDisk(world: World, change: (disk: Disk) => Partial<Disk>): World {
  return { ...world, disk: changed(world.disk, change(world.disk)) }
}

/** `writeDurably` of a file whose `datasync` is replaced goes by the replacement. */
function withItsDatasync(file: DiskFile, replaced: Partial<DiskFile>): Partial<DiskFile> {
  const { datasync } = replaced
  if (datasync === undefined) return replaced
  return {
    writeDurably: async (chunks, position) => {
      await file.write(chunks, position)
      await datasync()
    },
    ...replaced,
  }
}

export function changedFiles(world: World, change: (file: DiskFile, path: string) => Partial<DiskFile>): World {
  return changedDisk(world, (disk) => ({
    open: async (path, mode) => {
      const file = await disk.open(path, mode)
      return changed(file, withItsDatasync(file, change(file, path)))
    },
  }))
}
