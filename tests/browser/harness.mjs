// A real Chromium with fake media, and the checks of checks.mjs. Independent of the protocols and of the demo.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { summary } from './checks.mjs'

export { anyFailed, assert, check, until } from './checks.mjs'

const browserFile = () => {
  const file = process.env.CHROMIUM || ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync)
  if (!file) throw new Error('Chromium not found: install it (apt install chromium) or set CHROMIUM to its path')
  return file
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
    // Chromium treats an intercepted page as public, and public pages may not connect to loopback.
    '--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--autoplay-policy=no-user-gesture-required'
  ]
})

const here = dirname(fileURLToPath(import.meta.url))
const sdkFile = () => join(dirname(createRequire(import.meta.url).resolve('red5pro-webrtc-sdk/package.json')), 'red5pro-sdk.min.js')
const TYPES = { html: 'text/html; charset=utf-8', js: 'text/javascript' }

// Makes files of this directory and the SDK available under `/__test/` of every web origin, by intercepting the requests.
export const pages = (context, names) => context.route('**/__test/**', (route) => {
  const name = new URL(route.request().url()).pathname.split('/').pop()
  const file = name === 'sdk.js' ? sdkFile() : names.includes(name) && join(here, name)
  const contentType = TYPES[name.split('.').pop()]
  return file ? route.fulfill({ contentType, body: readFileSync(file) }) : route.fulfill({ status: 404, body: '' })
})

// Collects the script errors of a page, and the errors that the browser wrote to its console.
export const watch = (page) => {
  const complaints = { errors: [], console: [] }
  page.on('pageerror', (error) => complaints.errors.push(error.message))
  page.on('console', (message) => message.type() === 'error' && complaints.console.push(message.text()))
  return complaints
}

export const finish = async (context) => {
  await context.close()
  rmSync(profile, { recursive: true, force: true, maxRetries: 3 })
  summary()
}
