// The status page in Debian's Chromium and Firefox, both driven over WebDriver BiDi, before a real gateway with a small cluster:
// live numbers, sessions, what happened in one, kick and drain with the token, both themes, a phone, contrast and names.
//
//   TIDEGATE_PROGRAM=…/tidegate node page.mjs [--shots DIRECTORY] [chromium] [firefox]
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import puppeteer from 'puppeteer-core'
import { assert, check, summary, until } from './checks.mjs'
import { NODES, Scene, TOKEN } from './scene.mjs'

const { values: flags, positionals } = parseArgs({ allowPositionals: true, options: { shots: { type: 'string' } } })
const BROWSERS = {
  chromium: { browser: 'chrome', files: [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/google-chrome'], args: ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-background-networking'] },
  firefox: { browser: 'firefox', files: [process.env.FIREFOX, '/usr/bin/firefox-esr', '/usr/bin/firefox'], args: [] }
}
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const EVIL = '<img/src/onerror=window.broken=1><script>window.broken=1</script>'
// What a browser says of answers that the checks ask for.
const EXPECTED = /401|403|404|503|Failed to load resource|ERR_|NetworkError|downloadable font/

const text = (page, selector) => page.$eval(selector, (found) => found.textContent)
const shown = (page, selector) => page.$eval(selector, (found) => found.getClientRects().length > 0)
const has = async (page, selector, part) => {
  const found = () => page.$eval(selector, (found) => found.textContent).catch(() => '')
  // a check that takes too long says what it waited for
  const late = setTimeout(async () => console.log(`       waits for ${part} in ${selector}, which has: ${(await found()).slice(0, 300)}`), 15_000)
  await until(found, (text) => part instanceof RegExp ? part.test(text) : text.includes(part))
  clearTimeout(late)
}
const ids = (page) => page.$$eval('[data-table="sessions"] tr[data-id]', (rows) => rows.map((row) => row.dataset.id))
const cells = (page, column) => page.$$eval('[data-table="sessions"] tr[data-id]', (rows, at) => rows.map((row) => row.children[at].textContent), column)
const click = (page, selector) => page.$eval(selector, (found) => found.click())

// The faults that axe finds by the rules of WCAG 2.2, levels A and AA: contrast, names, landmarks, tables.
const faults = async (page) => {
  // as a text to evaluate, because the policy of the page lets no other script in
  if (!await page.evaluate('Boolean(window.axe)')) await page.evaluate(axe)
  return page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
    return violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 2).map(({ html, failureSummary }) => `${html.slice(0, 120)} ${failureSummary.slice(0, 160)}`).join(' | ')}`)
  })
}

const checkBrowser = async (name) => {
  const { browser: kind, files, args } = BROWSERS[name]
  const executablePath = files.find((file) => file && existsSync(file))
  assert(executablePath, `${name} is not installed`)
  const scene = new Scene()
  const launch = (extraPrefsFirefox) => puppeteer.launch({ browser: kind, executablePath, args, headless: true, protocol: 'webDriverBiDi', extraPrefsFirefox })
  const browser = await launch()
  const complaints = []
  const open = async (address, from = browser) => {
    const page = await from.newPage()
    page.on('pageerror', (error) => complaints.push(error.message))
    page.on('console', (message) => ['error', 'warn'].includes(message.type()) && !EXPECTED.test(message.text()) && complaints.push(message.text()))
    await page.setViewport({ width: 1280, height: 900 })
    await page.goto(address)
    return page
  }
  const shot = async (page, title) => flags.shots && page.screenshot({ path: join(flags.shots, `${name}-${title}.png`), fullPage: true })
  const it = (title, body) => check(`${name}: ${title}`, body)
  try {
    await scene.start()
    const page = await open(scene.monitoring)

    await it('the page is live, and says so', async () => {
      await has(page, '#link', /^live, /)
      await has(page, '#phase', 'serving')
      assert((await page.title()).includes('127.0.0.1'), 'the title names the gateway')
      await shot(page, 'rest')
    })
    await it('a gateway at rest says what is empty', async () => {
      await has(page, '[data-table="sessions"]', 'No session is open.')
      await has(page, '[data-table="nodes"]', 'No node is known yet')
      await has(page, '[data-chart="refused"]', 'No request was refused.')
    })

    const opened = await scene.openMany(120)
    const publishers = await scene.openMany(5, 'show', { role: 'publish' })
    const evil = await scene.open('named', { say: JSON.stringify({ requestOffer: EVIL, requestId: 'x' }) })
    for (let n = 0; n < 3; n++) await scene.open(`missing${n}`)
    await it('new sessions are counted while the page is open', async () => {
      await has(page, '#tiles', /126sessions open/)
      await has(page, '[data-chart="open"] .legend', /publishers 5.*subscribers 121/)
      await has(page, '#tiles', /of 129 requests served/)
      const path = await page.$eval('[data-chart="began"] path.area.c2', (found) => found.getAttribute('d'))
      assert(path.length > 20, `nothing is drawn: ${path}`)
      const before = await text(page, '#link')
      await until(() => text(page, '#link'), (now) => now !== before)
    })
    await it('the nodes and the stream manager are listed with their state', async () => {
      for (const node of NODES) await has(page, '[data-table="nodes"]', new RegExp(`${node.replaceAll('.', '\\.')}serves\\d+`))
      await has(page, '[data-table="managers"]', /answers, for/)
      await has(page, '[data-table="certificates"]', 'gateway.test')
    })
    await it('charts are read with the keyboard', async () => {
      await page.focus('[data-chart="open"] .plot')
      await page.keyboard.press('ArrowLeft')
      await has(page, '[data-chart="open"] .readout', /\d+:\d+.*subscribers/)
      assert((await page.$eval('[data-chart="open"] .plot', (plot) => plot.getAttribute('aria-label'))).includes('subscribers'), 'no name')
    })

    await it('sessions come in pages of fifty', async () => {
      await has(page, '#where', '1 to 50 of 126')
      const first = await ids(page)
      await click(page, '#after')
      await has(page, '#where', '51 to 100 of 126')
      const second = await ids(page)
      assert(first.length === 50 && second.length === 50 && !second.some((id) => first.includes(id)), 'the pages overlap')
      await click(page, '#before')
    })
    await it('a heading sorts, and the page stays there when it refreshes', async () => {
      await click(page, '[data-sort="stream"]')
      const streams = await cells(page, 2)
      assert(streams[0].localeCompare(streams.at(-1), 'en', { numeric: true }) < 0, `${streams[0]} before ${streams.at(-1)}`)
      const order = await page.$eval('th[aria-sort]', (th) => `${th.getAttribute('aria-sort')} ${th.textContent}`)
      assert(order === 'ascending stream', order)
      await click(page, '[data-sort="stream"]')
      const back = await cells(page, 2)
      assert(back[0].localeCompare(back.at(-1), 'en', { numeric: true }) > 0, `${back[0]} before ${back.at(-1)}`)
    })
    await it('a filter asks the gateway for the sessions that match', async () => {
      await page.type('#filter [name="stream"]', 'show3')
      await page.keyboard.press('Enter')
      await has(page, '#listed', '1 match')
      assert((await ids(page))[0] === publishers[3].id, 'another session')
      await click(page, '#filter [type="reset"]')
      await has(page, '#listed', '126 open')
      await page.type('#filter [name="node"]', 'not an address')
      await page.keyboard.press('Enter')
      await has(page, '#unlisted', 'expected an IP address')
      await click(page, '#filter [type="reset"]')
      await has(page, '#listed', '126 open')
    })
    await it('what happened in a session is told in its place', async () => {
      const [id] = await ids(page)
      await click(page, `[data-focus="why ${id}"]`)
      await has(page, 'tr.why', /connection of 127\.0\.0\.1.*TLS 1\.3.*took the request/)
      await new Promise((resolve) => setTimeout(resolve, 5500))
      assert(await shown(page, 'tr.why .verdict'), 'it closes when the list refreshes')
      await click(page, `[data-focus="why ${id}"]`)
      assert(!(await page.$('tr.why')), 'it does not close')
    })
    await it('names from outside stay text', async () => {
      await page.type('#find [name="id"]', evil.id)
      await page.keyboard.press('Enter')
      await has(page, '#told', EVIL)
      await page.type('#filter [name="stream"]', EVIL)
      await page.keyboard.press('Enter')
      await has(page, '#listed', '1 match')
      await has(page, '[data-table="sessions"]', `live/${EVIL}`)
      await click(page, '#filter [type="reset"]')
      assert(!(await page.evaluate(() => window.broken)) && !(await page.$('main img')), 'markup from outside')
    })

    await it('a node that dies is a fault with its cause, and its sessions end with a verdict', async () => {
      await scene.killNode(1)
      for (let n = 0; n < 4; n++) await scene.open(`late${n}`)
      await has(page, '[data-table="nodes"]', /127\.0\.0\.2avoided for \d+ s more: .*refused/)
      await has(page, '[data-table="ended"]', /The node 127\.0\.0\.2:\d+ ended its connection without a Close/)
      await has(page, '[data-chart="ends"] .legend', 'node vanished')
      await shot(page, 'busy')
      await scene.reviveNode(1)
    })
    for (const [value, override] of [['light', 1], ['dark', 0]]) {
      await it(`in the ${value} theme texts have their contrast and controls their names`, async () => {
        // Firefox has one theme for all its pages
        const other = kind === 'firefox' ? await launch({ 'layout.css.prefers-color-scheme.content-override': override }) : null
        try {
          const one = other ? await open(scene.monitoring, other) : page
          if (!other) await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value }])
          await has(one, '[data-table="ended"]', 'ended its connection')
          const background = await one.evaluate(() => getComputedStyle(document.body).backgroundColor)
          const bright = background.match(/\d+/g).slice(0, 3).every((part) => part > 128)
          assert(bright === (value === 'light'), `${background} in the ${value} theme`)
          const found = await faults(one)
          assert(found.length === 0, found.join(' || '))
          await shot(one, value)
        } finally {
          await other?.close()
        }
      })
    }
    await it('on a phone nothing is wider than the screen', async () => {
      await page.setViewport({ width: 390, height: 844 })
      const wide = await page.evaluate(() => document.documentElement.scrollWidth)
      assert(wide <= 390, `${wide} pixels`)
      await shot(page, 'phone')
      await page.setViewport({ width: 1280, height: 900 })
    })
    await it('the monitoring page offers nothing that changes something', async () => {
      assert(!(await shown(page, '#actions')) && !(await page.$('[data-focus^="kick"]')), 'there are buttons')
    })

    await it('where sessions are not shown, the page says why and shows the rest', async () => {
      scene.reload('monitoring = {', 'monitoring = { sessions = "off",')
      await has(page, '#unlisted', '[monitoring].sessions is off')
      assert((await ids(page)).length === 0 && !(await text(page, '[data-table="ended"]')).includes('127.0.0.1'), 'clients are shown')
      await has(page, '[data-table="nodes"]', '127.0.0.1')
      scene.reload('sessions = "off",', '')
      await until(() => ids(page), (rows) => rows.length > 0)
    })
    await it('a reload that is refused is a sentence', async () => {
      scene.reload('attempts = 1', 'atempts = 1')
      await has(page, '#notices', /The last reload was refused.*origins\.attempts/)
      scene.reload('atempts = 1', 'attempts = 1')
      await until(() => text(page, '#notices'), (notices) => notices === '')
    })

    await it('a stream manager that is gone is a sentence', async () => {
      await scene.stopManager()
      for (let n = 0; n < 3; n++) await scene.open(`gone${n}`)
      await has(page, '#notices', /The stream manager .* has not answered for .*New clients find no node/)
      await has(page, '[data-table="managers"]', 'does not answer')
      await scene.startManager()
      await until(() => text(page, '#notices'), (notices) => notices === '')
    })

    const admin = await open(scene.admin)
    await it('the admin page shows nothing without the token', async () => {
      await until(() => shown(admin, '#token'), Boolean)
      assert(!(await shown(admin, '#shown')) && !(await text(admin, '#shown')).includes('stream1'), 'something is shown')
      await admin.type('#token [name="token"]', 'no such token at all')
      await admin.keyboard.press('Enter')
      await has(admin, '#refused', 'does not take this token')
      await admin.type('#token [name="token"]', TOKEN)
      await admin.keyboard.press('Enter')
      await has(admin, '#link', /^live, /)
      const kept = await admin.evaluate(() => localStorage.length + sessionStorage.length + document.cookie.length)
      assert(kept === 0 && !(await admin.url()).includes(TOKEN) && !(await admin.content()).includes(TOKEN), 'the token is kept')
    })
    await it('a session is kicked after a question', async () => {
      await admin.type('#filter [name="role"]', 'publisher')
      await click(admin, '#filter button')
      await has(admin, '#listed', 'match')
      // one of the first page: ids are random, and the list may have several pages
      const rows = await admin.evaluate(() => [...document.querySelectorAll('[data-focus^="kick "]')].map((row) => row.dataset.focus.slice(5)))
      const { id, socket } = publishers.find(({ id, socket }) => !socket.destroyed && rows.includes(id))
      const gone = new Promise((resolve) => socket.once('data', resolve))
      await click(admin, `[data-focus="kick ${id}"]`)
      await click(admin, '#sure [value="no"]')
      assert(!(await shown(admin, '#sure')), 'the question stays')
      await click(admin, `[data-focus="kick ${id}"]`)
      await has(admin, '#sure', id)
      await click(admin, '#sure-yes')
      await has(admin, '#done', `Session ${id} was kicked.`)
      assert(String(await gone).includes('kicked'), 'no Close')
      await click(admin, '#filter [type="reset"]')
    })
    await it('a drain is shown to both pages, and its end as a lost connection', async () => {
      await click(admin, '#drain')
      await has(admin, '#sure', 'It takes no new clients')
      await click(admin, '#sure-yes')
      for (const one of [admin, page]) {
        await has(one, '#phase', 'draining')
        await has(one, '#notices', 'This gateway drains')
      }
      await shot(admin, 'drain')
      const found = await faults(admin)
      assert(found.length === 0, found.join(' || '))
      scene.leave()
      scene.gateway.kill('SIGTERM')
      await has(page, '#link', /connection lost.*retrying; the numbers are those of/)
      await shot(page, 'lost')
    })
    await it('the page comes back with the gateway', async () => {
      await scene.ended
      await scene.startGateway()
      await has(page, '#link', /^live, /)
      await has(page, '#phase', 'serving')
    })
    await it('no script error occurs', async () => assert(complaints.length === 0, complaints.join(' | ')))
    assert(opened.length === 120, 'clients')
  } finally {
    await browser.close()
    await scene.stop()
  }
}

const names = positionals.length ? positionals : Object.keys(BROWSERS)
// at the same time: most of it is waiting
await Promise.all(names.map((name) => checkBrowser(name).catch((error) => check(`${name}: runs`, () => Promise.reject(error)))))
summary()
