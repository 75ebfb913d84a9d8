/**
 * A disk whose power can be cut: an ext4 file system in a file, mounted through a loop device, and the kernel's own order to
 * shut a file system down without writing its log. Whatever was not made durable is gone; the mount after it replays the
 * journal, as after a real power cut.
 *
 * A program that starts in a mount namespace of its own, as `ip netns exec` does, takes a copy of every mount along, and a file system
 * that is mounted anywhere is not mounted anew. So ours lies below a shared mount: unmounted here, it is unmounted in the copies.
 *
 * Needs root and loop devices. The image lies in memory where there is room, for speed: what is tested is what the file
 * system kept, not what a disk's cache did.
 */

import { existsSync, mkdirSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Child, run, runWell } from './child.ts'
import { processState } from './process-tree.ts'
import { makeTemporaryDirectory } from './temporary-directory.ts'

/** Of a whole state directory; the file that holds it has holes. */
const imageBytesDefault = 4 * 1024 ** 3
/** EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH. */
const shutdown = 'open(F, "<", $ARGV[0]) or die $!; my $flag = pack("I", 2); ioctl(F, 0x8004587D, $flag) or die $!'

export class PowerCutDisk {
  readonly mountPoint: string
  readonly #directory: string
  readonly #image: string

  private constructor(directory: string) {
    this.#directory = directory
    this.#image = join(directory, 'disk.img')
    this.mountPoint = join(directory, 'disk')
  }

  static async make(imageBytes = imageBytesDefault): Promise<PowerCutDisk> {
    const disk = new PowerCutDisk(makeTemporaryDirectory('qmq-cut', roomyDirectory(imageBytes)))
    await runWell('mount', ['--bind', disk.#directory, disk.#directory])
    await runWell('mount', ['--make-shared', disk.#directory])
    mkdirSync(disk.mountPoint)
    await runWell('truncate', ['-s', String(imageBytes), disk.#image])
    await runWell('mkfs.ext4', ['-q', '-F', disk.#image])
    await disk.mount()
    return disk
  }

  async mount(): Promise<void> {
    await runWell('mount', ['-o', 'loop', this.#image, this.mountPoint])
  }

  /** From now on every write fails; what is not durable is lost. */
  async cut(): Promise<void> {
    await runWell('perl', ['-e', shutdown, this.mountPoint])
  }

  /** Program and disk in one instant: frozen before anything else, for it must not run on, and talk, after its disk has gone. */
  async cutUnder(program: Child): Promise<void> {
    program.process.kill('SIGSTOP')
    while (program.running && processState(program.pid) !== 'T') await sleep(1)
    await this.cut()
    await program.stop('SIGKILL')
  }

  /** What was written until now is durable. */
  async sync(): Promise<void> {
    await runWell('sync', ['-f', this.mountPoint])
  }

  /** Retries while processes that were just killed still hold files. */
  async unmount(directory = this.mountPoint): Promise<void> {
    for (let tries = 0; ; tries++) {
      const { code, stderr } = await run('umount', [directory])
      if (code === 0) return
      if (tries === 100) throw new Error(`umount: ${stderr}`)
      await sleep(50)
    }
  }

  /** Power is back: the journal is replayed by the mount. */
  async powerOn(): Promise<void> {
    await this.unmount()
    await this.mount()
  }

  async destroy(): Promise<void> {
    await this.unmount()
    await this.unmount(this.#directory)
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

function roomyDirectory(imageBytes: number): string {
  const memory = '/dev/shm'
  if (!existsSync(memory)) return tmpdir()
  const { bavail, bsize } = statfsSync(memory)
  return bavail * bsize > imageBytes ? memory : tmpdir()
}
