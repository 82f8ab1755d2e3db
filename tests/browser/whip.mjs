// Every way to publish and to play that is no two-step WebSocket, in a real browser: the vendor's SDK 11 and a plain client for
// WHIP and WHEP on both kinds of paths, and one-step WebSockets; then what goes wrong.
//
//   node whip.mjs https://localhost:PORT                              through a gateway
//   node whip.mjs --manager http://127.0.0.1:PORT https://localhost:PORT   and let the sandbox behind it fail
//   node whip.mjs --page https://pages.test https://localhost:PORT    from a page of another origin, which the gateway admits
//   node whip.mjs --direct NODES_PORT http://localhost:MANAGER_PORT   a sandbox node without a gateway
import { parseArgs } from 'node:util'
import { anyFailed, assert, check, finish, launch, pages, until, watch } from './harness.mjs'

const WANTED_FRAMES = 30

const { values: flags, positionals: [base] } = parseArgs({
  allowPositionals: true,
  options: { direct: { type: 'string' }, manager: { type: 'string' }, page: { type: 'string' }, group: { type: 'string', default: 'demo' } }
})
if (!base || !/^https?:\/\//.test(base)) {
  console.error('usage: node whip.mjs [--direct NODES_PORT] [--manager URL] [--page ORIGIN] [--group NAME] BASE_URL')
  process.exit(64)
}

const target = flags.direct ? `http://127.0.0.1:${flags.direct}` : base.replace(/\/$/, '')
const context = await launch()
await pages(context, ['whip.html', 'whip.js', 'plain.js', 'later.js'])

const heard = []
const open = async () => {
  const page = await context.newPage()
  heard.push(watch(page))
  await page.goto(`${flags.page || base}/__test/whip.html?base=${encodeURIComponent(target)}`)
  return page
}
const page = await open()
const call = (method, ...rest) => page.evaluate(([m, r]) => window.run[m](...r), [method, rest])
const succeeds = async (promise) => {
  const error = await promise
  assert(error === '', error)
}

let streams = 0
const fresh = () => `s${process.pid}x${++streams}`
const manager = flags.direct ? base : target
const placed = async (name) => (await context.request.get(`${manager}/streammanager/api/4.0/event/live/${name}?action=subscribe`)).status()
const live = (name) => until(() => placed(name), (status) => status === 200)
const free = (name) => until(() => placed(name), (status) => status === 404)

const plays = async (key) => {
  const first = await until(() => call('playing', key), (now) => now.decoded >= 1)
  const last = await until(() => call('playing', key), (now) => now.decoded >= WANTED_FRAMES && now.shown >= WANTED_FRAMES && now.time > first.time)
  return `${last.decoded} frames, at ${last.time.toFixed(2)} s`
}

const oldPath = (word, name) => `${target}/live/${word}/endpoint/${name}`
const newPath = (word, name) => `${target}/as/v1/proxy/${word}/live/${name}?nodeGroup=${flags.group}`
const socket = (side, name) => flags.direct ? ['live', {}] : [`as/v1/proxy/ws/${side}/live/${name}`, { nodeGroup: flags.group }]

// How a kind of client is started: the call, then its arguments behind key and name.
const kinds = {
  'SDK 11, 1.x path': { publish: () => ['sdkPublish'], play: () => ['sdkPlay'] },
  'SDK 11, empty WHEP body, 1.x path': { play: () => ['sdkPlay', '', { postEmptyOffer: true }] },
  'plain client, 1.x path': { publish: (name) => ['plainPublish', oldPath('whip', name)], play: (name) => ['plainPlay', oldPath('whep', name)] },
  ...(!flags.direct && {
    'SDK 11, 2.0 path': { publish: (name) => ['sdkPublish', newPath('whip', name)], play: (name) => ['sdkPlay', newPath('whep', name)] },
    'SDK 14.3\'s requests': { publish: (name) => ['laterPublish', newPath('whip', name)], play: (name) => ['laterPlay', newPath('whep', name)] },
    'plain client, 2.0 path': { publish: (name) => ['plainPublish', newPath('whip', name)], play: (name) => ['plainPlay', newPath('whep', name)] }
  }),
  'SDK 11, one-step WebSocket': { publish: (name) => ['socketPublish', ...socket('publish', name)], play: (name) => ['socketPlay', ...socket('subscribe', name)] }
}
const begin = (side, kind, key, name) => {
  const [method, ...rest] = kinds[kind][side](name)
  return call('begin', method, key, name, ...rest)
}

const names = Object.keys(kinds)
const publishers = names.filter((kind) => kinds[kind].publish)
for (const [index, publisher] of publishers.entries()) {
  const name = fresh()
  await check(`${publisher}: publishes`, async () => {
    await succeeds(begin('publish', publisher, 'out', name))
    await live(name)
  })
  // Its own kind, and one other each: every pair would take minutes and tell nothing more.
  const players = [publisher, names[(names.indexOf(publisher) + 1) % names.length]]
  for (const [at, player] of players.entries()) {
    await check(`${player}: plays it`, async () => {
      await succeeds(begin('play', player, `in${at}`, name))
      return plays(`in${at}`)
    })
  }
  await check(`${publisher}: its name is in use`, async () => {
    const error = await begin('publish', publisher, 'second', name)
    // Browsers hide the status of a refused upgrade; all a page hears is that there is no socket.
    const wanted = publisher.includes('WebSocket') ? /already|refused|fail|error|closed/i : /409|already initialized/i
    assert(wanted.test(error), `the second one heard: ${error || 'yes'}`)
    return error.slice(0, 60)
  })
  await check(`${publisher}: both ends stop, and the name is free`, async () => {
    for (const at of players.keys()) await call('stop', `in${at}`)
    await call('stop', 'out')
    await free(name)
  })
  if (index === 0) {
    await check(`${publisher}: publishes under the same name again`, async () => {
      await succeeds(begin('publish', publisher, 'out', name))
      await live(name)
      await call('stop', 'out')
    })
  }
}

await check('a stream nobody publishes can\'t be played, and the page can read why', async () => {
  const error = await begin('play', 'plain client, 1.x path', 'none', fresh())
  assert(error.startsWith('404'), error || 'it could')
})

for (const kind of publishers) {
  await check(`${kind}: the page vanishes, and the name is free`, async () => {
    const name = fresh()
    const other = await open()
    const [method, ...rest] = kinds[kind].publish(name)
    await succeeds(other.evaluate(([m, r]) => window.run.begin(m, ...r), [method, ['out', name, ...rest]]))
    await live(name)
    await other.close()
    await free(name)
  })
}

if (flags.manager) {
  const sandbox = (what) => context.request.post(`${flags.manager}/sandbox/${what}`)
  for (const kind of publishers) {
    await check(`${kind}: the first node named is dead, and nobody notices`, async () => {
      const name = fresh()
      await sandbox('nodes/0/down')
      await sandbox('named-next/127.0.0.1')
      try {
        await succeeds(begin('publish', kind, 'out', name))
        await live(name)
        await call('stop', 'out')
      } finally {
        await sandbox('nodes/0/up')
      }
    })
  }
}

await check('the pages met no error of their own', async () => {
  // SDK 11 leaves the rejection of a refused publish to nobody.
  const errors = heard.flatMap((one) => one.errors).filter((error) => !/already (initialized|has a broadcast)/i.test(error))
  assert(errors.length === 0, errors[0])
})

if (anyFailed()) {
  for (const line of await call('traffic').catch(() => [])) console.log('---', JSON.stringify(line))
  for (const text of heard.flatMap((one) => one.console)) console.log('--- console', text)
}
await finish(context)
