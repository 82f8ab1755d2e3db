// Runs the vendor's SDK 11 in Debian's Chromium against a running gateway, and prints the result of each check.
//
//   node run.mjs https://localhost:PORT            through a gateway (its certificate may be self-signed)
//   node run.mjs --direct NODES_PORT http://localhost:MANAGER_PORT   sandbox nodes without a gateway
//
// The test puts its page into the browser under the gateway's own web origin, so the gateway needs no CORS rule for it.
import { anyFailed, assert, check, finish, launch, pages, until, watch } from './harness.mjs'

const FRAMES_MIN = 30

const args = process.argv.slice(2)
const direct = args[0] === '--direct' ? args.splice(0, 2)[1] : ''
const base = args[0]
if (!base || !/^https?:\/\//.test(base)) {
  console.error('usage: node run.mjs [--direct NODES_PORT] BASE_URL')
  process.exit(64)
}

const context = await launch()
await pages(context, ['two-steps.html', 'two-steps.js'])

const page = await context.newPage()
const complaints = watch(page)
await page.goto(`${base}/__test/two-steps.html${direct ? `?direct=${direct}` : ''}`)

const name = `stream${process.pid}`
const call = (method, ...rest) => page.evaluate(([m, r]) => window.twoSteps[m](...r), [method, rest])
const handedOff = (frames) => frames.filter(([dir, text]) => dir === 'out' && text.includes('switchChannel')).length

await check('a stream without a publisher can\'t be subscribed to', async () => {
  const error = await call('stepOne', 'subscribe', `${name}none`).then(() => '', (e) => e.message)
  assert(error.includes('not found'), `expected "not found", found ${error || 'a node'}`)
})

await check('RTCPublisher publishes', async () => {
  const { node } = await call('publish', name)
  return `on ${node}`
})

await check('RTCSubscriber subscribes', async () => {
  const { node } = await call('subscribe', name, 'subscriber-1b31')
  return `on ${node}`
})

await check(`${FRAMES_MIN} frames decode and the clock moves`, async () => {
  const first = await until(() => call('playing'), (now) => now.decoded >= 1 && now.width > 0)
  const last = await until(() => call('playing'), (now) => now.decoded >= FRAMES_MIN && now.shown >= FRAMES_MIN && now.time > first.time)
  return `${last.decoded} decoded, at ${last.time.toFixed(2)} s`
})

await check('both sides hand off from their WebSocket to the data channel', async () => {
  await until(() => call('frames'), (frames) => handedOff(frames) === 2)
})

await check('media continues after the hand-off', async () => {
  const before = await call('playing')
  const after = await until(() => call('playing'), (now) => now.decoded >= before.decoded + FRAMES_MIN)
  assert(after.time > before.time, 'the clock does not move')
})

await check('unpublish ends the stream and frees its name', async () => {
  await call('unpublish')
  await until(() => call('stepOne', 'subscribe', name).then(() => '', (e) => e.message), (error) => error.includes('not found'))
})

await check('no script error occurs in the page', async () => assert(complaints.errors.length === 0, complaints.errors[0]))

if (anyFailed()) {
  console.log('--- signalling frames as the page saw them')
  for (const frame of await call('frames').catch(() => [])) console.log(JSON.stringify(frame))
  for (const text of complaints.console) console.log('--- console', text)
  console.log('--- events', JSON.stringify(await call('seen').catch(() => [])))
}
await finish(context)
