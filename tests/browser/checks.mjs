// Checks with a deadline, and the summary line. Independent of browsers.

// How long one check may take, and how often `until` reads, in milliseconds.
const CHECK_TIMEOUT = 20_000
const POLL_INTERVAL = 100

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
    timer = setTimeout(() => reject(new Error(`not within ${CHECK_TIMEOUT / 1000} s`)), CHECK_TIMEOUT)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// Calls `read` every 100 ms until `condition` holds for its result, which is returned. The deadline is that of the check.
export const until = async (read, condition) => {
  for (;;) {
    const value = await read()
    if (condition(value)) return value
    await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL))
  }
}

export const assert = (good, text) => {
  if (!good) throw new Error(text)
}

export const anyFailed = () => failed > 0

// Prints the summary and ends the process.
export const summary = () => {
  console.log(`${passed} passed, ${failed} failed`)
  process.exit(failed === 0 ? 0 : 1)
}
