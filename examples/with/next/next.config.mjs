export default { serverExternalPackages: ['pglisten'] }
