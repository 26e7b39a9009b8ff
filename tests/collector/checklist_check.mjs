// Reads a checklist with STIG Manager's own parser, and prints what it found as JSON.
// Arguments: the folder with node_modules, the checklist.
import fs from 'node:fs'
import { createRequire } from 'node:module'

const require = createRequire(process.argv[2] + '/')
const { reviewsFromCklb } = require('@nuwcdivnpt/stig-manager-client-modules')
const found = reviewsFromCklb({
  data: fs.readFileSync(process.argv[3]),
  fieldSettings: {
    detail: { enabled: 'always', required: 'always' },
    comment: { enabled: 'findings', required: 'findings' },
  },
  allowAccept: false,
  importOptions: {
    autoStatus: { fail: 'saved', notapplicable: 'saved', pass: 'saved' },
    unreviewed: 'always',
    unreviewedCommented: 'notchecked',
    emptyDetail: 'ignore',
    emptyComment: 'ignore',
    allowCustom: true,
  },
  sourceRef: process.argv[3],
})
console.log(JSON.stringify({
  target: found.target.name,
  checklists: found.checklists.map((list) => ({
    id: list.benchmarkId,
    revision: list.revisionStr,
    results: Object.fromEntries(list.reviews.map((review) => [review.ruleId, review.result])),
  })),
}))
