-- Health of an Agent for Argo CD, computed from its status conditions.
local hs = {status = "Progressing", message = "the operator has not observed this generation of the Agent yet"}
if obj.metadata.deletionTimestamp ~= nil then
  hs.message = "the Agent is being deleted"
  return hs
end
if obj.status == nil or obj.status.conditions == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return hs
end
local conditions = {}
for _, condition in ipairs(obj.status.conditions) do
  conditions[condition.type] = condition
end
local ready, stalled = conditions["Ready"], conditions["Stalled"]
if ready == nil or ready.status == "Unknown" then
  return hs
end
hs.message = ready.reason .. ": " .. ready.message
if ready.status == "True" then
  -- Also while suspended: Argo CD waits for objects that are Suspended, and an Agent that is suspended in Git would never end that.
  hs.status = "Healthy"
elseif ready.reason ~= "RolloutInProgress" or stalled ~= nil and stalled.status == "True" then
  hs.status = "Degraded"
end
return hs
