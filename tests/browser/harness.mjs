// A real Chromium with fake media, checks with a deadline, and the closing line. It knows no protocol and no demo.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'

const DEADLINE = 20_000

let passed = 0
let failed = 0
export const check = async (title, body) => {
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
export const until = async (ask, right) => {
  for (;;) {
    const answer = await ask()
    if (right(answer)) return answer
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

export const assert = (good, text) => {
  if (!good) throw new Error(text)
}

const browserFile = () => {
  const wanted = process.env.CHROMIUM || ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync)
  if (!wanted) throw new Error('no Chromium: install it (apt install chromium) or name it in CHROMIUM')
  return wanted
}

const profile = mkdtempSync(join(tmpdir(), 'tidegate-browser-'))
export const launch = () => chromium.launchPersistentContext(profile, {
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

const here = dirname(fileURLToPath(import.meta.url))
const sdkFile = () => join(dirname(createRequire(import.meta.url).resolve('red5pro-webrtc-sdk/package.json')), 'red5pro-sdk.min.js')
const TYPES = { html: 'text/html; charset=utf-8', js: 'text/javascript' }

// Puts files of this directory and the SDK below `/__test/` of every origin, without any server having them.
export const pages = (context, names) => context.route('**/__test/**', (route) => {
  const name = new URL(route.request().url()).pathname.split('/').pop()
  const file = name === 'sdk.js' ? sdkFile() : names.includes(name) && join(here, name)
  const contentType = TYPES[name.split('.').pop()]
  return file ? route.fulfill({ contentType, body: readFileSync(file) }) : route.fulfill({ status: 404, body: '' })
})

// Complaints of a page: its own errors, and what the browser wrote to its console.
export const watch = (page) => {
  const heard = { errors: [], console: [] }
  page.on('pageerror', (error) => heard.errors.push(error.message))
  page.on('console', (message) => message.type() === 'error' && heard.console.push(message.text()))
  return heard
}

export const anyFailed = () => failed > 0

export const finish = async (context) => {
  await context.close()
  rmSync(profile, { recursive: true, force: true, maxRetries: 3 })
  console.log(`${passed} passed, ${failed} failed`)
  process.exit(failed === 0 ? 0 : 1)
}
