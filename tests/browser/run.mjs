// Runs the vendor's SDK 11 in Debian's Chromium against a gateway that is already there, and says what worked.
//
//   node run.mjs https://localhost:PORT            through a gateway (its certificate may be self-signed)
//   node run.mjs --direct NODES_PORT http://localhost:MANAGER_PORT   sandbox nodes without a gateway
//
// The page is put into the browser below the gateway's own origin, so no CORS rule has to be bent for it.
import { readFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'

const here = dirname(fileURLToPath(import.meta.url))
const DEADLINE = 20_000
const WANTED_FRAMES = 30

const args = process.argv.slice(2)
const direct = args[0] === '--direct' ? args.splice(0, 2)[1] : ''
const base = args[0]
if (!base || !/^https?:\/\//.test(base)) {
  console.error('usage: node run.mjs [--direct NODES_PORT] BASE_URL')
  process.exit(64)
}

let passed = 0
let failed = 0
const check = async (title, body) => {
  try {
    const note = await within(body(), title)
    passed += 1
    console.log(`ok     ${title}${note ? ` (${note})` : ''}`)
  } catch (error) {
    failed += 1
    console.log(`FAILED ${title}: ${String(error.message || error).split('\n')[0]}`)
  }
}

const within = (promise, title) => {
  let timer
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${DEADLINE / 1000} s`)), DEADLINE)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// Asks until the answer is right; the deadline is the caller's.
const until = async (ask, right) => {
  for (;;) {
    const answer = await ask()
    if (right(answer)) return answer
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

const assert = (good, text) => {
  if (!good) throw new Error(text)
}

const sdkFile = () => {
  const root = dirname(createRequire(import.meta.url).resolve('red5pro-webrtc-sdk/package.json'))
  return join(root, 'red5pro-sdk.min.js')
}

const browserFile = () => {
  const wanted = process.env.CHROMIUM || ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync)
  if (!wanted) throw new Error('no Chromium: install it (apt install chromium) or name it in CHROMIUM')
  return wanted
}

const profile = mkdtempSync(join(tmpdir(), 'tidegate-browser-'))
const context = await chromium.launchPersistentContext(profile, {
  executablePath: browserFile(),
  headless: true,
  ignoreHTTPSErrors: true,
  args: [
    '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
    '--allow-loopback-in-peer-connection', '--ignore-certificate-errors',
    // A page that was put into the browser counts as public, and public pages may not reach loopback.
    '--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--autoplay-policy=no-user-gesture-required'
  ]
})

const files = {
  'page.html': ['text/html; charset=utf-8', join(here, 'page.html')],
  'page.js': ['text/javascript', join(here, 'page.js')],
  'sdk.js': ['text/javascript', sdkFile()]
}
await context.route('**/__test/**', (route) => {
  const name = new URL(route.request().url()).pathname.split('/').pop()
  const [contentType, file] = files[name] || []
  return file ? route.fulfill({ contentType, body: readFileSync(file) }) : route.fulfill({ status: 404, body: '' })
})

const page = await context.newPage()
const complaints = []
page.on('pageerror', (error) => complaints.push(error.message))
const consoleErrors = []
page.on('console', (message) => message.type() === 'error' && consoleErrors.push(message.text()))
await page.goto(`${base}/__test/page.html${direct ? `?direct=${direct}` : ''}`)

const name = `stream${process.pid}`
const call = (method, ...rest) => page.evaluate(([m, r]) => window.twoSteps[m](...r), [method, rest])
const handedOff = (frames) => frames.filter(([dir, text]) => dir === 'out' && text.includes('switchChannel')).length

await check('a stream nobody publishes can\'t be subscribed to', async () => {
  const error = await call('stepOne', 'subscribe', `${name}none`).then(() => '', (e) => e.message)
  assert(error.includes('not found'), `step one said: ${error || 'yes'}`)
})

await check('RTCPublisher publishes', async () => {
  const { node } = await call('publish', name)
  return `on ${node}`
})

await check('RTCSubscriber subscribes', async () => {
  const { node } = await call('subscribe', name, 'subscriber-1b31')
  return `on ${node}`
})

await check(`${WANTED_FRAMES} frames decode and the clock moves`, async () => {
  const first = await until(() => call('playing'), (now) => now.decoded >= 1 && now.width > 0)
  const last = await until(() => call('playing'), (now) => now.decoded >= WANTED_FRAMES && now.shown >= WANTED_FRAMES && now.time > first.time)
  return `${last.decoded} decoded, at ${last.time.toFixed(2)} s`
})

await check('both leave their WebSocket for the data channel', async () => {
  await until(() => call('frames'), (frames) => handedOff(frames) === 2)
})

await check('media goes on after the hand-off', async () => {
  const before = await call('playing')
  const after = await until(() => call('playing'), (now) => now.decoded >= before.decoded + WANTED_FRAMES)
  assert(after.time > before.time, 'the clock stands')
})

await check('unpublish ends the stream, and its name is free again', async () => {
  await call('unpublish')
  await until(() => call('stepOne', 'subscribe', name).then(() => '', (e) => e.message), (error) => error.includes('not found'))
})

await check('the page met no error of its own', async () => assert(complaints.length === 0, complaints[0]))

if (failed > 0) {
  console.log('--- signalling frames as the page saw them')
  for (const frame of await call('frames').catch(() => [])) console.log(JSON.stringify(frame))
  for (const text of consoleErrors) console.log('--- console', text)
  console.log('--- events', JSON.stringify(await call('seen').catch(() => [])))
}
await context.close()
rmSync(profile, { recursive: true, force: true, maxRetries: 3 })
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed === 0 ? 0 : 1)
