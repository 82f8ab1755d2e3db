// All kinds of clients except two-step WebSockets, in a real browser: the vendor's SDK 11 and a standard client for WHIP and WHEP
// on the paths of 1.x and 2.0, the requests of SDK 14.3, and one-step WebSockets; then failures.
//
//   node whip.mjs https://localhost:PORT                              through a gateway
//   node whip.mjs --manager http://127.0.0.1:PORT https://localhost:PORT   and with failures of the sandbox behind it
//   node whip.mjs --page https://pages.test https://localhost:PORT    from a page of another web origin that the gateway allows
//   node whip.mjs --direct NODES_PORT http://localhost:MANAGER_PORT   a sandbox node without a gateway
import { parseArgs } from 'node:util'
import { anyFailed, assert, check, finish, launch, pages, until, watch } from './harness.mjs'

const FRAMES_MIN = 30

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
await pages(context, ['whip.html', 'whip.js', 'standard.js', 'sdk14.js'])

const complaints = []
const open = async () => {
  const page = await context.newPage()
  complaints.push(watch(page))
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
const newName = () => `s${process.pid}x${++streams}`
const manager = flags.direct ? base : target
const streamStatus = async (name) => (await context.request.get(`${manager}/streammanager/api/4.0/event/live/${name}?action=subscribe`)).status()
const live = (name) => until(() => streamStatus(name), (status) => status === 200)
const free = (name) => until(() => streamStatus(name), (status) => status === 404)

const plays = async (key) => {
  const first = await until(() => call('playing', key), (now) => now.decoded >= 1)
  const last = await until(() => call('playing', key), (now) => now.decoded >= FRAMES_MIN && now.shown >= FRAMES_MIN && now.time > first.time)
  return `${last.decoded} frames, at ${last.time.toFixed(2)} s`
}

const path1 = (protocol, name) => `${target}/live/${protocol}/endpoint/${name}`
const path2 = (protocol, name) => `${target}/as/v1/proxy/${protocol}/live/${name}?nodeGroup=${flags.group}`
const socket = (side, name) => flags.direct ? ['live', {}] : [`as/v1/proxy/ws/${side}/live/${name}`, { nodeGroup: flags.group }]

// How a kind of client is started: the function in whip.js, then its arguments after key and name.
const kinds = {
  'SDK 11, 1.x path': { publish: () => ['sdkPublish'], play: () => ['sdkPlay'] },
  'SDK 11, empty WHEP body, 1.x path': { play: () => ['sdkPlay', '', { postEmptyOffer: true }] },
  'standard client, 1.x path': { publish: (name) => ['standardPublish', path1('whip', name)], play: (name) => ['standardPlay', path1('whep', name)] },
  ...(!flags.direct && {
    'SDK 11, 2.0 path': { publish: (name) => ['sdkPublish', path2('whip', name)], play: (name) => ['sdkPlay', path2('whep', name)] },
    'SDK 14.3\'s requests': { publish: (name) => ['sdk14Publish', path2('whip', name)], play: (name) => ['sdk14Play', path2('whep', name)] },
    'standard client, 2.0 path': { publish: (name) => ['standardPublish', path2('whip', name)], play: (name) => ['standardPlay', path2('whep', name)] }
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
  const name = newName()
  await check(`${publisher}: publishes`, async () => {
    await succeeds(begin('publish', publisher, 'out', name))
    await live(name)
  })
  // Players of its own kind and of one other kind: all pairs would take minutes and would not test more.
  const players = [publisher, names[(names.indexOf(publisher) + 1) % names.length]]
  for (const [at, player] of players.entries()) {
    await check(`${player}: plays the stream`, async () => {
      await succeeds(begin('play', player, `in${at}`, name))
      return plays(`in${at}`)
    })
  }
  await check(`${publisher}: a second publisher of the same name is refused`, async () => {
    const error = await begin('publish', publisher, 'second', name)
    // Browsers hide the status of a refused upgrade: a page only learns that there is no connection.
    const expected = publisher.includes('WebSocket') ? /already|refused|fail|error|closed/i : /409|already initialized/i
    assert(expected.test(error), `expected a refusal, found ${error || 'success'}`)
    return error.slice(0, 60)
  })
  await check(`${publisher}: after both sides stop the name is free`, async () => {
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

await check('a stream without a publisher can\'t be played, and the page can read the status', async () => {
  const error = await begin('play', 'standard client, 1.x path', 'none', newName())
  assert(error.startsWith('404'), `expected 404, found ${error || 'success'}`)
})

for (const kind of publishers) {
  await check(`${kind}: after the page is closed the name is free`, async () => {
    const name = newName()
    const other = await open()
    const [method, ...rest] = kinds[kind].publish(name)
    await succeeds(other.evaluate(([m, r]) => window.run.begin(m, ...r), [method, ['out', name, ...rest]]))
    await live(name)
    await other.close()
    await free(name)
  })
}

if (flags.manager) {
  const sandbox = async (command) => {
    const response = await context.request.post(`${flags.manager}/sandbox/${command}`)
    assert(response.ok(), `unknown command of the sandbox: ${command}`)
  }
  const setLocations = async (style) => {
    for (const node of [0, 1]) await sandbox(`nodes/${node}/location/${style}`)
  }
  for (const style of ['absolute', 'query', 'missing']) {
    for (const kind of publishers.filter((one) => !one.includes('WebSocket'))) {
      await check(`${kind}: works with nodes whose Location is ${style}`, async () => {
        const name = newName()
        await setLocations(style)
        try {
          await succeeds(begin('publish', kind, 'out', name))
          await live(name)
          await succeeds(begin('play', kind, 'in0', name))
          await plays('in0')
          const bypassed = (await call('traffic')).find(([, url]) => /^http/.test(url) && !url.startsWith(target))
          assert(!bypassed, `request that did not go to the gateway: ${bypassed}`)
          await call('stop', 'in0')
          await call('stop', 'out')
          await free(name)
        } finally {
          await setLocations('path')
        }
      })
    }
  }
  for (const kind of publishers) {
    await check(`${kind}: publishes although the first node named is down`, async () => {
      const name = newName()
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

await check('no script error occurs in the pages', async () => {
  // SDK 11 does not handle the rejection of a refused publish.
  const errors = complaints.flatMap((one) => one.errors).filter((error) => !/already (initialized|has a broadcast)/i.test(error))
  assert(errors.length === 0, errors[0])
})

if (anyFailed()) {
  for (const line of await call('traffic').catch(() => [])) console.log('---', JSON.stringify(line))
  for (const text of complaints.flatMap((one) => one.console)) console.log('--- console', text)
}
await finish(context)
