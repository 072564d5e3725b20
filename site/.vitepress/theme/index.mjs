// VitePress's own theme, with what assistive technology needs beyond it.

import { nextTick, onMounted, watch } from 'vue'
import { useRoute } from 'vitepress'
import DefaultTheme from 'vitepress/theme'
import './style.css'

/** The home page has no landmark for its content, and a group of the sidebar is a button within a button. */
function amend() {
  const content = document.querySelector('#VPContent')
  if (content?.classList.contains('is-home')) content.setAttribute('role', 'main')
  else content?.removeAttribute('role')
  for (const caret of document.querySelectorAll('.VPSidebarItem .item[role="button"] .caret')) {
    for (const name of ['role', 'tabindex', 'aria-label']) caret.removeAttribute(name)
  }
  // A block of code or a table that scrolls sideways can be scrolled with the keyboard.
  for (const box of document.querySelectorAll('.vp-doc table')) box.setAttribute('tabindex', '0')
}

export default {
  extends: DefaultTheme,
  setup() {
    const route = useRoute()
    onMounted(amend)
    watch(
      () => route.path,
      () => void nextTick(amend),
    )
  },
}
